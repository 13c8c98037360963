# 10 epochs, of them 2 of warm-up, with Adam: source training for two CPU cores, with an epoch of 100 iterations.
_base_ = './source_120e.py'
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(_delete_=True, type='Adam', lr=5e-4, weight_decay=5e-4)
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=2, start_factor=0.1, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=2, end=10, T_max=8, eta_min_ratio=0.002, by_epoch=True),
]
train_cfg = dict(max_epochs=10, val_interval=2)
