# ViT-S/16 of TransReID-SSL with the convolutional IBN stem (ICS), without part tokens.
_base_ = './vit_s_plain.py'
model = dict(backbone=dict(stem='ics', init_cfg=dict(checkpoint='pretrained/vit_small_ics_cfs_lup.pth')))
