# UDA MSMT17 -> Market-1501, ResNet-50, DBSCAN labels and GLC as published; from a network trained on MSMT17.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/market_resnet.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(
    # What configs/source/resnet50_msmt_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/resnet50_msmt_sup/epoch_120.pth')),
    **_base_._cnn,
)
default_hooks = _base_._dbscan
