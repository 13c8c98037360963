# USL on Market-1501, MobileNetV2 from ImageNet, GLC + restart.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e_adam_restart.py',
    '../_base_/labelers/jaccard_dbscan_glc_restart.py',
]
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
