# USL on MSMT17, ResNet-50-IBN-a: DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/resnet50_ibn.py',
    '../_base_/settings/msmt_resnet.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
