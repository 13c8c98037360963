# USL on MSMT17, ResNet-50: DBSCAN labels and GLC as published.
_base_ = [
    '../_base_/models/resnet50.py',
    '../_base_/datasets/msmt17.py',
    '../_base_/schedules/usl_50e.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
model = dict(bn_group_size=128)
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
