# Source training on Market-1501 with identities, ResNet-50.
_base_ = [
    '../_base_/models/resnet50_sup.py',
    '../_base_/settings/market_sup.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
