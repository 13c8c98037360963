# ViT-S/16 with the ICS stem, without part tokens, for training with identities; the setting has head.num_classes.
_base_ = './vit_s_plain_sup.py'
model = dict(backbone=dict(stem='ics', init_cfg=dict(checkpoint='pretrained/vit_small_ics_cfs_lup.pth')))
