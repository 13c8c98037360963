# Source training: 120 epochs, of them 20 of warm-up, then a cosine. Biases learn twice as fast.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=4e-4, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(bias=dict(lr_mult=2.0, decay_mult=1.0))),
)
param_scheduler = [
    dict(type='LinearLR', begin=0, end=20, start_factor=0.01, by_epoch=True),
    dict(type='CosineAnnealingLR', begin=20, end=120, T_max=100, eta_min_ratio=0.002, by_epoch=True),
]
train_cfg = dict(by_epoch=True, max_epochs=120, val_interval=20)
val_cfg = dict()
test_cfg = dict()
