# PASS pre-training of a ViT-S/16 with the convolutional IBN stem; batch statistics of 128 images, those of one GPU of
# the published 8 x 128.
_base_ = './pass_pretraining_vit_s.py'
model = dict(backbone=dict(stem='ics'), bn_group_size=128)
