# ResNet-50 of Cluster Contrast: learnable GeM pooling, a memory of means; ImageNet weights of torchvision.
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ReIDDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        ibn=False,
        last_stride=1,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/resnet50-0676ba61.pth'),
    ),
    neck=dict(type='ReIDNeck', in_channels=2048, pool=dict(type='GeM', p=3.0, learnable=True)),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.05, momentum=0.1, mode='mean'),
    ),
    bn_group_size=64,
)
