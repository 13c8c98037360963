# UDA Market-1501 -> MSMT17, PASS ViT-S/16; from a network trained with labels on Market-1501.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/settings/market2msmt_uda.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = dict(
    # What configs/source/vit_s_market_sup.py writes; the published one: pretrained/vit_s_pass_market1501.pth
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_s_market_sup/epoch_120.pth')),
    **_base_._vit,
)
