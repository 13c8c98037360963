# Market-1501 training images without labels for PASS on a CPU: global crops of 64 x 32 pixels, local ones of 32 x 16.
train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(
        type='PartMultiCrop',
        global_size=(32, 64),
        local_size=(16, 32),
        crops_per_part=1,
        blur_radius=(0.1, 0.5),  # the published 0.1 to 2 pixels, on images of a quarter of the size
    ),
    dict(type='PackMultiCrop'),
]
test_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(32, 64), backend='pillow', interpolation='bicubic'),
    dict(type='PackReIDInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='ShuffledSampler', batch_size=64),
    dataset=dict(type='Market1501', data_root='data/market1501', split='train', pipeline=train_pipeline),
)
# The teacher's features, for tools/test.py and tools/analysis_tools.
test_dataloader = dict(
    batch_size=256,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='Market1501', data_root='data/market1501', split='test', pipeline=test_pipeline),
)
test_evaluator = dict(type='ReIDMetric')
test_cfg = dict()
