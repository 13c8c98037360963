# USL on MSMT17, ResNet-50, GLC + restart.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/msmt_resnet.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = _base_._cnn
param_scheduler = _base_._restart_schedule
default_hooks = _base_._dbscan
