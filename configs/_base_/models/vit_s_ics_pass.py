# ViT-S/16 with the convolutional IBN stem (ICS) and part tokens. The published weights, of TransReID-SSL
# (https://github.com/damo-cv/TransReID-SSL), have no part tokens: those start at random, and the log says so.
_base_ = './vit_s_pass.py'
model = dict(backbone=dict(stem='ics', init_cfg=dict(checkpoint='pretrained/vit_small_ics_cfs_lup.pth')))
