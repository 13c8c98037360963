# ViT-S/16 of TransReID-SSL, without part tokens, pre-trained on LUPerson (https://github.com/damo-cv/TransReID-SSL).
_base_ = './vit_s_pass.py'
model = dict(
    backbone=dict(num_part_tokens=0, init_cfg=dict(checkpoint='pretrained/vit_small_cfs_lup.pth')),
    neck=dict(num_tokens=1),
)
