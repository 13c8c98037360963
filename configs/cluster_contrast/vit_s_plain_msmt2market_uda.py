# UDA MSMT17 -> Market-1501, ViT-S/16 of TransReID-SSL; from a network trained with labels on MSMT17.
_base_ = [
    '../_base_/models/vit_s_plain.py',
    '../_base_/settings/msmt2market_uda.py',
    '../_base_/labelers/jaccard_dbscan.py',
]
model = dict(
    # What configs/source/vit_s_plain_msmt_sup.py writes; the published one: pretrained/vit_s_plain_msmt.pth
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_s_plain_msmt_sup/epoch_120.pth')),
    **_base_._vit,
)
default_hooks = _base_._dbscan
