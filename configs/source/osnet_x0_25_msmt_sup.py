# Source training on MSMT17 with identities, OSNet x0.25; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25_sup.py',
    '../_base_/datasets/msmt17_sup.py',
    '../_base_/schedules/source_cpu_10e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=1041))
train_dataloader = dict(num_workers=2, sampler=dict(iterations=100))
