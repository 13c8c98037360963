# UDA MSMT17 -> Market-1501, PASS ViT-S/16; from a network trained with labels on MSMT17.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/settings/msmt2market_uda.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = dict(
    # What configs/source/vit_s_msmt_sup.py writes; the published one: pretrained/vit_s_pass_msmt17.pth
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_s_msmt_sup/epoch_120.pth')),
    **_base_._vit,
)
