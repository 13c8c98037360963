# USL on Market-1501, ResNet-50.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/consensus_glc.py',
]
model = dict(bn_group_size=64)
