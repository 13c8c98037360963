# UDA MSMT17 -> Market-1501, OSNet x0.25, full length, GLC + restart.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e_adam_restart.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.5)))
