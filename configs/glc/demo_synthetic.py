# The generated data set, OSNet x0.25 from random weights, sized for two CPU cores (tools/quickstart.sh).
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/synthetic.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(backbone=dict(init_cfg=None))
