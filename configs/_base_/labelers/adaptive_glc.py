# Labels whose neighborhoods follow from the data, corrected by GLC in every epoch.
# A person in two clusters is pushed apart, and later labels hardly join the parts again. So neighborhoods reach farther
# than fits best, until the learning rate is low; and pieces of fewer than 4 images are left out (docs/results.md).
_base_ = '../default_runtime.py'
default_hooks = dict(
    pseudo_label=dict(
        type='PseudoLabelHook',
        labeler=dict(type='AdaptiveConsensus'),
        corrector=dict(type='GLC'),
        min_images=4,
        reach=[(0, 1.5), (0.7, 1)],
    )
)
