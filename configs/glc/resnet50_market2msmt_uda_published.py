# UDA Market-1501 -> MSMT17, ResNet-50, DBSCAN labels and GLC as published; from a network trained on Market-1501.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/msmt_resnet.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(
    # What configs/source/resnet50_market_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/resnet50_market_sup/epoch_120.pth')),
    **_base_._cnn,
)
default_hooks = _base_._dbscan
