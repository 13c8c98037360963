# USL on MSMT17, PASS ViT-B/16.
_base_ = [
    '../_base_/models/vit_b_pass.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/consensus_glc.py',
]
model = dict(neck=dict(fusion='mean'), bn_group_size=128)
