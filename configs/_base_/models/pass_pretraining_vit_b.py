# PASS pre-training of a ViT-B/16.
_base_ = './pass_pretraining_vit_s.py'
model = dict(backbone=dict(arch='base'))
