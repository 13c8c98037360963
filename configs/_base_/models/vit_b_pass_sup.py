# PASS ViT-B/16 for training with identities; the setting has head.num_classes.
_base_ = './vit_b_pass.py'
model = dict(
    type='SupervisedReID',
    backbone=dict(drop_path_rate=0.1),
    neck=dict(multi=True, fusion='cat'),
    head=dict(_delete_=True, type='SupervisedHead', in_channels=1536),
    bn_group_size=None,  # only the neck normalizes batches, and it sees the global one
)
