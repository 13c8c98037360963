# ResNet-50-IBN-a with GeM pooling, ImageNet weights of https://github.com/XingangPan/IBN-Net.
_base_ = './resnet50.py'
model = dict(backbone=dict(ibn=True, init_cfg=dict(checkpoint='pretrained/resnet50_ibn_a-d9d0bb7b.pth')))
