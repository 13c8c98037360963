# UDA MSMT17 -> Market-1501, OSNet x0.25; from a network trained with labels on MSMT17. Sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/msmt2market_uda_cpu.py',
    '../_base_/labelers/adaptive_glc_camera_norm.py',
]
model = _base_._cnn
