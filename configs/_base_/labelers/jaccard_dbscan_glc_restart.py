# GLC + restart: epoch 15 labels with the old network and restarts it; the new one learns these labels until
# epoch 20. Goes with schedules/usl_50e_restart.py.
_base_ = './jaccard_dbscan_glc.py'
default_hooks = dict(
    restart=dict(type='RestartHook', epoch=15, lr=5.5e-4),
    pseudo_label=dict(frozen_epochs=(16, 17, 18, 19, 20)),
)
