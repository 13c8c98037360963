# Source training on MSMT17 with identities, ResNet-50.
_base_ = [
    '../_base_/models/resnet50_sup.py',
    '../_base_/datasets/msmt17_sup.py',
    '../_base_/schedules/source_120e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=1041))
