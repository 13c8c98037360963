# ViT-B/16 with the ICS stem, without part tokens, for training with identities on images of 384 x 128 pixels; the
# setting has head.num_classes.
_base_ = './vit_s_ics_plain_sup.py'
model = dict(
    backbone=dict(
        arch='base', img_size=(384, 128), init_cfg=dict(checkpoint='pretrained/vit_base_ics_cfs_lup.pth')
    ),
    neck=dict(in_channels=768),
    head=dict(in_channels=768),
)
