# Images and sampler of the published source training: every image about once per epoch, erased boxes of noise, and
# bilinear resizing in tests.
_source_train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(128, 256), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=10, size=(128, 256)),
    dict(
        type='RandomErasing',
        prob=0.5,
        area=(0.02, 1 / 3),
        aspect=(0.3, 1 / 0.3),
        attempts=10,
        log_aspect=True,
        noise=True,
    ),
    dict(type='PackReIDInputs'),
]
_source_test_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(128, 256), backend='pillow', interpolation='bilinear'),
    dict(type='PackReIDInputs'),
]
_source_sampler = dict(_delete_=True, type='RandomIdentitySampler', num_ids=16, num_instances=4)
