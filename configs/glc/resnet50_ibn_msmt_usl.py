# USL on MSMT17, ResNet-50-IBN-a.
_base_ = [
    '../_base_/models/resnet50_ibn.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/consensus_glc.py',
]
model = dict(bn_group_size=128)
