# USL on Market-1501. A leaf takes up what its parts know: `_vit` or `_cnn` as `model`, `_dbscan` as `default_hooks`.
_base_ = ['../datasets/market1501.py', '../schedules/usl_50e.py']
_cnn = dict(bn_group_size=64)
_vit = dict(neck=dict(multi=False, fusion='cat'), bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
