# MSMT17, V1 or V2 as found, 256 x 128 pixels. batch_size of train_dataloader is the global batch.
train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(128, 256), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=10, size=(128, 256)),
    dict(type='RandomErasing', prob=0.5, area=(0.02, 0.4), aspect=(0.3, 3.33)),
    dict(type='PackReIDInputs'),
]
test_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(128, 256), backend='pillow', interpolation='bicubic'),
    dict(type='PackReIDInputs'),
]

train_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='PseudoIdentitySampler', num_ids=32, num_instances=8, iterations=200),
    dataset=dict(type='MSMT17', data_root='data/MSMT17', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='MSMT17', data_root='data/MSMT17', split='test', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ReIDMetric')
test_evaluator = val_evaluator
