# ViT-S/16 with the ICS stem, without part tokens, for training with identities; the setting has head.num_classes.
_base_ = './vit_s_ics_plain.py'
model = dict(
    type='SupervisedReID',
    backbone=dict(drop_path_rate=0.1),
    head=dict(_delete_=True, type='SupervisedHead', in_channels=384),
    bn_group_size=None,  # only the neck normalizes batches, and it sees the global one
)
