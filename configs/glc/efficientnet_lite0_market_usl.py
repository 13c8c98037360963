# USL on Market-1501, EfficientNet-Lite0 from ImageNet.
_base_ = [
    '../_base_/models/efficientnet_lite0.py',
    '../_base_/settings/market_usl_adam.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._cnn
