# UDA Market-1501 -> MSMT17, OSNet x0.25; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/market2msmt_uda_cpu.py',
    '../_base_/labelers/adaptive_glc_camera_norm.py',
]
model = dict(
    # What configs/source/osnet_x0_25_market_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/osnet_x0_25_market_sup/epoch_10.pth')),
    **_base_._cnn,
)
