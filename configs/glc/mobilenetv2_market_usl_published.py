# USL on Market-1501, MobileNetV2 from ImageNet, DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/settings/market_usl_adam.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
