# Source training of TransReID: as source_120e.py, with a rate of 8e-3 and a warm-up of 5 epochs.
_base_ = './source_120e.py'
optim_wrapper = dict(optimizer=dict(lr=8e-3))
param_scheduler = [
    dict(type='WarmupCosineLR', total=120, warm_up=5, start_factor=0.01, end_factor=0.002, by_epoch=True)
]
