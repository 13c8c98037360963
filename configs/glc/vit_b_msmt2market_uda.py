# UDA MSMT17 -> Market-1501, PASS ViT-B/16; from a network trained with labels on MSMT17.
_base_ = [
    '../_base_/models/vit_b_pass.py',
    '../_base_/settings/msmt2market_uda.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = dict(
    # What configs/source/vit_b_msmt_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_b_msmt_sup/epoch_120.pth')),
    **_base_._vit,
)
