# USL on Market-1501, PASS ViT-S/16.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/consensus_glc.py',
]
model = dict(neck=dict(fusion='cat'), bn_group_size=64)
