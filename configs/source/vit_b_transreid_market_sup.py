# Source training on Market-1501 with identities, TransReID: ViT-B/16 with SIE and JPM.
_base_ = [
    '../_base_/models/vit_b_transreid_sup.py',
    '../_base_/settings/market_transreid_sup.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
