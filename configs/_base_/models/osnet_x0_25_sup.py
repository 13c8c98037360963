# OSNet x0.25 for training with identities; the setting has head.num_classes. From the ImageNet weights of
# https://github.com/KaiyangZhou/deep-person-reid, since those of _base_/models/osnet_x0_25.py have seen MSMT17.
_base_ = './osnet_x0_25.py'
model = dict(
    type='SupervisedReID',
    backbone=dict(init_cfg=dict(checkpoint='pretrained/osnet_x0_25_imagenet.pth')),
    head=dict(_delete_=True, type='SupervisedHead', in_channels=512),
    bn_group_size=64,
)
