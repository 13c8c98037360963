# UDA MSMT17 -> Market-1501, OSNet x0.25, full length, DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e_adam.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.5)))
