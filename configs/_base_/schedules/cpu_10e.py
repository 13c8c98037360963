# 10 epochs of 100 iterations of 64 images: less than an hour on two CPU cores for a network of OSNet x0.25's size.
_base_ = './usl_50e.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=5e-4, weight_decay=5e-4))
param_scheduler = [dict(type='StepLR', step_size=7, gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=10, val_interval=2)
