# UDA Market-1501 -> MSMT17, ResNet-50; from a network trained with labels on Market-1501.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/settings/msmt_resnet.py',
    '../_base_/labelers/adaptive_glc_camera_norm.py',
]
model = dict(
    # What configs/source/resnet50_market_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/resnet50_market_sup/epoch_120.pth')),
    **_base_._cnn,
)
