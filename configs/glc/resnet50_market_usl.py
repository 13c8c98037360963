# USL on Market-1501, ResNet-50.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/market_resnet.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._cnn
