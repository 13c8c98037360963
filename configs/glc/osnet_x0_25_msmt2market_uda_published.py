# UDA MSMT17 -> Market-1501, OSNet x0.25, DBSCAN labels and GLC with components; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/settings/msmt2market_uda_cpu.py',
    '../_base_/labelers/jaccard_dbscan_glc_cpu.py',
]
model = _base_._cnn
default_hooks = _base_._dbscan
