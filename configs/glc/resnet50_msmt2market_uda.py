# UDA MSMT17 -> Market-1501, ResNet-50; from a network trained with labels on MSMT17.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/market_resnet.py',
    '../_base_/labelers/adaptive_glc_camera_norm.py',
]
model = dict(
    # What configs/source/resnet50_msmt_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/resnet50_msmt_sup/epoch_120.pth')),
    **_base_._cnn,
)
