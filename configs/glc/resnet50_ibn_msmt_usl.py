# USL on MSMT17, ResNet-50-IBN-a.
_base_ = [
    '../_base_/models/resnet50_ibn.py',
    '../_base_/settings/msmt_resnet.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._cnn
