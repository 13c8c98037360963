# UDA MSMT17 -> Market-1501, OSNet x0.25; from a network trained with labels on MSMT17. Fits a CPU.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(bn_group_size=64)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
