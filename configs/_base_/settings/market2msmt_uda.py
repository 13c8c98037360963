# UDA Market-1501 -> MSMT17. A ViT keeps the neck of its source training, which normalizes every token apart.
_base_ = ['../datasets/msmt17.py', '../schedules/usl_50e.py']
_cnn = dict(bn_group_size=128)
_vit = dict(neck=dict(multi=True, fusion='mean'), bn_group_size=128)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
# As published, the fused feature of the multi neck is not scaled to unit length, neither for labels nor for centroids.
_published_vit = dict(neck=dict(multi=True, fusion='mean', unit=False), bn_group_size=128)
_published_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.7, unit_features=False)))
