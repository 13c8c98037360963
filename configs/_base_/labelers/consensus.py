# Pseudo labels of a multi-scale, camera-balanced consensus, every epoch; no corrector. Nothing to tune per data set.
_base_ = '../default_runtime.py'
default_hooks = dict(
    pseudo_label=dict(type='PseudoLabelHook', labeler=dict(type='MultiScaleConsensus'), interval=1)
)
