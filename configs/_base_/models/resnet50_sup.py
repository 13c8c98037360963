# ResNet-50 for training with identities; the setting has head.num_classes.
_base_ = './resnet50.py'
model = dict(
    type='SupervisedReID',
    neck=dict(pool=dict(learnable=False)),
    head=dict(_delete_=True, type='SupervisedHead', in_channels=2048),
    bn_group_size=64,
)
