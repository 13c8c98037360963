# timm's ResNet-10 with less than half of its channels, from random weights: what a CPU trains in minutes.
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ReIDDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(type='TimmBackbone', model_name='resnet10t', channels=(24, 48, 96, 192), stem_width=16),
    neck=dict(type='ReIDNeck', in_channels=192),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.07, momentum=0.2, mode='mean'),
    ),
    bn_group_size=32,
)
