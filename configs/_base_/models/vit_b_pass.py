# ViT-B/16 with PASS part tokens, pre-trained on LUPerson (https://github.com/CASIA-IVA-Lab/PASS-reID).
_base_ = './vit_s_pass.py'
model = dict(
    backbone=dict(arch='base', init_cfg=dict(checkpoint='pretrained/pass_vit_base_full.pth')),
    neck=dict(in_channels=768),
)
