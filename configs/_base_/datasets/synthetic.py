# The generated data set, at its own 128 x 64 pixels.
# Made by: python tools/dataset_tools/make_synthetic.py --out data/synthetic
train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(64, 128), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=5, size=(64, 128)),
    dict(type='RandomErasing', prob=0.5, area=(0.02, 0.4), aspect=(0.3, 3.33)),
    dict(type='PackReIDInputs'),
]
test_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(64, 128), backend='pillow', interpolation='bicubic'),
    dict(type='PackReIDInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='PseudoIdentitySampler', num_ids=16, num_instances=4, iterations=40),
    dataset=dict(type='SyntheticReID', data_root='data/synthetic', split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='SyntheticReID', data_root='data/synthetic', split='test', pipeline=test_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='ReIDMetric')
test_evaluator = val_evaluator
