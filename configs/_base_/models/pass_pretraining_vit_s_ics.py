# PASS pre-training of a ViT-S/16 with the convolutional IBN stem.
_base_ = './pass_pretraining_vit_s.py'
model = dict(backbone=dict(stem='ics'))
