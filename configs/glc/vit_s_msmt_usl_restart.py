# USL on MSMT17, PASS ViT-S/16, GLC + restart.
_base_ = [
    '../_base_/models/vit_s_pass.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/usl_50e_restart.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
model = dict(neck=dict(fusion='mean'), bn_group_size=128)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
