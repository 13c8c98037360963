# UDA between two generated data sets, a small ResNet; from the network of configs/source/demo_synthetic_sup.py.
# Target made by: python tools/dataset_tools/make_synthetic.py --out data/synthetic_target --seed 1
_base_ = [
    '../_base_/models/resnet10_small.py',
    '../_base_/settings/synthetic2synthetic_uda.py',
    '../_base_/labelers/jaccard_dbscan_glc_default.py',
]
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='work_dirs/demo_synthetic_sup/epoch_10.pth')),
    **_base_._cnn,
)
default_hooks = _base_._dbscan
