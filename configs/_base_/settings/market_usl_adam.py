# USL on Market-1501 for small convolutional networks.
_base_ = ['../datasets/market1501.py', '../schedules/usl_50e_adam.py']
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
