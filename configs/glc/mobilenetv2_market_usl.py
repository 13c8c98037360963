# USL on Market-1501, MobileNetV2 from ImageNet.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/settings/market_usl_adam.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._cnn
