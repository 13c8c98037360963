# 50 epochs; the length of an epoch is the sampler's `iterations`.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=3.5e-4, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [dict(type='StepLR', step_size=20, gamma=0.1, by_epoch=True)]
train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=10)
val_cfg = dict()
test_cfg = dict()
