# Source training on MSMT17 with identities, ViT-B/16 + ICS of TransReID-SSL, images of 384 x 128 pixels.
_base_ = [
    '../_base_/models/vit_b_ics_plain_384_sup.py',
    '../_base_/settings/msmt_sup_384.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
