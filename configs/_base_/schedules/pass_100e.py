# The published schedule of PASS; it builds on default_runtime.py, so a leaf does not list that file.
_base_ = '../default_runtime.py'
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='DecayMatricesConstructor',
    optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.04),
)
# lr above is that of 256 images; it is scaled by the global batch.
auto_scale_lr = dict(enable=True, base_batch_size=256)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=10, by_epoch=True, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR', eta_min=1e-6, begin=10, end=100, by_epoch=True, convert_to_iter_based=True
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=100)
default_hooks = dict(
    checkpoint=dict(save_best=None, rule=None),
    self_distillation=dict(
        type='SelfDistillationHook',
        teacher_momentum=0.996,
        final_weight_decay=0.4,
        frozen_epochs=1,
        clip_norm=3.0,
    ),
)
