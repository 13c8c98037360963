# The generated data set, a small ResNet from random weights, sized for two CPU cores.
_base_ = [
    '../_base_/models/resnet10_small.py',
    '../_base_/settings/synthetic.py',
    '../_base_/labelers/jaccard_dbscan_glc_cpu.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
