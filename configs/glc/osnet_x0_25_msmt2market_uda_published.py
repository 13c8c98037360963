# UDA MSMT17 -> Market-1501, OSNet x0.25, DBSCAN labels and GLC with components; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/cpu_10e.py',
    '../_base_/labelers/jaccard_dbscan_glc_cpu.py',
]
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.5)))
