# Your own folder of person crops. Training needs no identities, and nothing is evaluated during it (val_dataloader).
# Tests, features and pictures of tests take the folders query/ and gallery/ in data_root, which may not be there.
# `pattern` tells cameras and identities from the paths (ImageFolderReID).
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
    dataset=dict(
        type='ImageFolderReID',
        data_root='data/my_images',
        split='train',
        pattern=None,
        pipeline=train_pipeline,
    ),
)
val_dataloader = val_evaluator = None
test_dataloader = dict(
    batch_size=256,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='ImageFolderReID',
        data_root='data/my_images',
        split='test',
        pattern=None,
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='ReIDMetric')
