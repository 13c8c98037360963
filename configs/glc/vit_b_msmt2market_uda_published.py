# UDA MSMT17 -> Market-1501, PASS ViT-B/16, DBSCAN labels and GLC as published; from a network trained on MSMT17.
_base_ = [
    '../_base_/models/vit_b_pass.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(
    # What configs/source/vit_b_msmt_sup.py writes.
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/vit_b_msmt_sup/epoch_120.pth')),
    neck=dict(multi=True, fusion='cat'),
    bn_group_size=64,
)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
