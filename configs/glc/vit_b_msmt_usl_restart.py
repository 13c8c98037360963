# USL on MSMT17, PASS ViT-B/16, GLC + restart.
_base_ = [
    '../_base_/models/vit_b_pass.py',
    '../_base_/settings/msmt_usl.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = _base_._vit
param_scheduler = _base_._restart_schedule
default_hooks = _base_._dbscan
