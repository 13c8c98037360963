# USL on Market-1501, PASS ViT-S/16: DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/settings/market_usl.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = _base_._vit
default_hooks = _base_._dbscan
