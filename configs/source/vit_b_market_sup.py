# Source training on Market-1501 with identities, PASS ViT-B/16.
_base_ = [
    '../_base_/models/vit_b_pass_sup.py',
    '../_base_/settings/market_sup.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
