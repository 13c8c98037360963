# UDA Market-1501 -> MSMT17, OSNet x0.25, DBSCAN labels and GLC with components; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/cpu_10e.py',
    '../_base_/labelers/jaccard_dbscan_glc_cpu.py',
]
model = dict(
    # What configs/source/osnet_x0_25_market_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/osnet_x0_25_market_sup/epoch_10.pth')),
)
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
