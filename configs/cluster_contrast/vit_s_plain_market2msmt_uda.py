# UDA Market-1501 -> MSMT17, ViT-S/16 of TransReID-SSL; from a network trained with labels on Market-1501.
_base_ = [
    '../_base_/models/vit_s_plain.py',
    '../_base_/settings/market2msmt_uda.py',
    '../_base_/labelers/jaccard_dbscan.py',
]
model = dict(
    # What configs/source/vit_s_plain_market_sup.py writes; the published one: pretrained/vit_s_plain_market.pth
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_s_plain_market_sup/epoch_120.pth')),
    **_base_._vit,
)
default_hooks = _base_._dbscan
