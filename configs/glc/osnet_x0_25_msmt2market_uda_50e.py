# UDA MSMT17 -> Market-1501, OSNet x0.25, full length.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/msmt2market_uda_adam.py',
    '../_base_/labelers/adaptive_glc_camera_norm.py',
]
model = _base_._cnn
