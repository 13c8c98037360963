# LUPerson, 4.2 million unlabeled images. batch_size is the global batch of all processes.
train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='PartMultiCrop', global_size=(128, 256), local_size=(64, 128), crops_per_part=3),
    dict(type='PackMultiCrop'),
]
train_dataloader = dict(
    batch_size=1024,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='ShuffledSampler', batch_size=1024),
    dataset=dict(type='LUPerson', data_root='data/LUP', split='train', pipeline=train_pipeline),
)
