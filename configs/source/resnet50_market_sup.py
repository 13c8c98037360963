# Source training on Market-1501 with identities, ResNet-50.
_base_ = [
    '../_base_/models/resnet50_sup.py',
    '../_base_/datasets/market1501_sup.py',
    '../_base_/schedules/source_120e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=751))
