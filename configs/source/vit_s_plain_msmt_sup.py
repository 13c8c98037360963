# Source training on MSMT17 with identities, ViT-S/16 of TransReID-SSL.
_base_ = [
    '../_base_/models/vit_s_plain_sup.py',
    '../_base_/settings/msmt_sup.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
