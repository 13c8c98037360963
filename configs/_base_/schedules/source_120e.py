# Source training: 120 epochs. After a warm-up of 20, the rate enters a cosine over all 120. Biases learn twice as fast.
optim_wrapper = dict(
    type='AmpOptimWrapper',  # mixed precision; bfloat16 on a CPU
    optimizer=dict(type='SGD', lr=4e-4, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys=dict(bias=dict(lr_mult=2.0, decay_mult=1.0))),
)
param_scheduler = [
    dict(type='WarmupCosineLR', total=120, warm_up=20, start_factor=0.01, end_factor=0.002, by_epoch=True)
]
train_cfg = dict(by_epoch=True, max_epochs=120, val_interval=20)
val_cfg = dict()
test_cfg = dict()
