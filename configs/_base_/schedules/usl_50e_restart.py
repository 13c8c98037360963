# The learning rate of "GLC + restart"; RestartHook sets 5.5e-4 at the start of the second segment.
_base_ = './usl_50e.py'
param_scheduler = [
    dict(type='StepLR', begin=0, end=15, step_size=20, gamma=0.1, by_epoch=True),
    dict(type='StepLR', begin=15, end=50, step_size=15, gamma=0.1, by_epoch=True),
]
