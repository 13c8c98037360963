# USL on Market-1501, MobileNetV2 from ImageNet, GLC + restart.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/settings/market_usl_adam.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = _base_._cnn
param_scheduler = _base_._restart_schedule
default_hooks = _base_._dbscan
