# USL on Market-1501, ViT-S/16 of TransReID-SSL.
_base_ = [
    '../_base_/models/vit_s_plain.py',
    '../_base_/settings/market_usl.py',
    '../_base_/labelers/jaccard_dbscan.py',
]
model = _base_._vit
default_hooks = _base_._dbscan
