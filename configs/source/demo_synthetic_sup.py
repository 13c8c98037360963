# Source training on the generated data set with identities, a small ResNet from random weights.
_base_ = [
    '../_base_/models/resnet10_small_sup.py',
    '../_base_/settings/synthetic_sup.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
