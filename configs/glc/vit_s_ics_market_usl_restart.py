# USL on Market-1501, ViT-S/16 with the convolutional (ICS) stem, GLC + restart.
_base_ = [
    '../_base_/models/vit_s_ics_pass.py',
    '../_base_/settings/market_usl.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = _base_._vit
param_scheduler = _base_._restart_schedule
default_hooks = _base_._dbscan
