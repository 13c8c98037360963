# USL on MSMT17.
_base_ = ['../datasets/msmt17.py', '../schedules/usl_50e.py']
_cnn = dict(bn_group_size=128)
_vit = dict(neck=dict(multi=False, fusion='mean'), bn_group_size=128)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
