# 12 epochs of 40 iterations of 128 images: an hour or less on two CPU cores for a network of OSNet x0.25's size.
_base_ = './usl_50e.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=3.5e-4, weight_decay=5e-4))
param_scheduler = [dict(type='StepLR', step_size=8, gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=12, val_interval=4)
