# GLC sized for a CPU: seconds, not minutes, per correction of 13,000 images. Goes with schedules/cpu_10e.py.
_base_ = './jaccard_dbscan.py'
default_hooks = dict(
    pseudo_label=dict(
        corrector=dict(
            type='GLC',
            k=15,
            subgraphs_per_epoch=8,
            clip_norm=None,
            patience=None,
            linking='components',
            careful=False,
            use_cameras=False,
        ),
        correct_begin=4,
        correct_interval=2,
    )
)
