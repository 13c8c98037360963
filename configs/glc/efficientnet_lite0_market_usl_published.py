# USL on Market-1501, EfficientNet-Lite0 from ImageNet, DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/efficientnet_lite0.py',
    '../_base_/settings/market_usl_adam.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
