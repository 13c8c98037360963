# USL on MSMT17, ViT-S/16 with the convolutional (ICS) stem.
_base_ = [
    '../_base_/models/vit_s_ics_pass.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/consensus_glc.py',
]
model = dict(neck=dict(fusion='mean'), bn_group_size=128)
