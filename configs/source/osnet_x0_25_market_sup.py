# Source training on Market-1501 with identities, OSNet x0.25; sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25_sup.py',
    '../_base_/settings/market_sup_cpu.py',
    '../_base_/labelers/identities.py',
]
model = _base_._identities
