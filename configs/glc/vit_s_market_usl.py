# USL on Market-1501, PASS ViT-S/16.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/settings/market_usl.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._vit
