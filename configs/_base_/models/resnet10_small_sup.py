# The small ResNet-10 for training with identities; the setting has head.num_classes.
_base_ = './resnet10_small.py'
model = dict(
    type='SupervisedReID',
    head=dict(_delete_=True, type='SupervisedHead', in_channels=192),
    bn_group_size=64,
)
