# UDA MSMT17 -> Market-1501. A ViT keeps the neck of its source training, which normalizes every token apart.
_base_ = ['../datasets/market1501.py', '../schedules/usl_50e.py']
_cnn = dict(bn_group_size=64)
_vit = dict(neck=dict(multi=True, fusion='cat'), bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
# As published, the fused feature of the multi neck is not scaled to unit length, neither for labels nor for centroids.
_published_vit = dict(neck=dict(multi=True, fusion='cat', unit=False), bn_group_size=64)
_published_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6, unit_features=False)))
