# UDA MSMT17 -> Market-1501, OSNet x0.25, full length.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e_adam.py',
    '../_base_/labelers/consensus_glc.py',
]
