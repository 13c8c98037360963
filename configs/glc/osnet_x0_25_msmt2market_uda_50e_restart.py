# UDA MSMT17 -> Market-1501, OSNet x0.25, full length, GLC + restart.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/msmt2market_uda_adam.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = _base_._cnn
param_scheduler = _base_._restart_schedule
default_hooks = _base_._dbscan
