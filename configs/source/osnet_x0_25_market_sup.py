# Source training on Market-1501 with identities, OSNet x0.25; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25_sup.py',
    '../_base_/datasets/market1501_sup.py',
    '../_base_/schedules/source_cpu_10e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=751))
train_dataloader = dict(num_workers=2, sampler=dict(iterations=100))
