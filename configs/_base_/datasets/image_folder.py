# Your own folder of person crops, without identities: training only. Set the folder with
# --cfg-options train_dataloader.dataset.data_root=PATH, and where file names or folders tell the camera,
# train_dataloader.dataset.pattern (see ImageFolderReID). There is nothing to evaluate on, so a config built on this
# file also sets val_cfg = test_cfg = None; give val_dataloader and test_dataloader a labelled data set to evaluate.
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
val_dataloader = test_dataloader = None
val_evaluator = test_evaluator = None

# The features that are clustered come from the training images under the test pipeline.
default_hooks = dict(pseudo_label=dict(pipeline=test_pipeline))
