# GLC + restart: epoch 15 labels with the old network and restarts it; the new one learns these labels until
# epoch 20. A leaf takes up `_restart_schedule` as `param_scheduler`; RestartHook sets the rate of its second segment.
_base_ = './jaccard_dbscan_glc.py'
default_hooks = dict(
    restart=dict(type='RestartHook', epoch=15, lr=5.5e-4),
    pseudo_label=dict(frozen_epochs=(16, 17, 18, 19, 20)),
)
_restart_schedule = [
    dict(type='StepLR', begin=0, end=15, step_size=20, gamma=0.1, by_epoch=True),
    dict(type='StepLR', begin=15, end=50, step_size=15, gamma=0.1, by_epoch=True),
]
