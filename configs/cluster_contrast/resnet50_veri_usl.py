# USL on VeRi-776, ResNet-50.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/veri_resnet.py',
    '../_base_/labelers/jaccard_dbscan.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
