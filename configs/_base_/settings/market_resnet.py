# USL on Market-1501, or UDA to it, for a ResNet: the recipe of Cluster Contrast.
_base_ = ['../datasets/market1501.py', '../schedules/usl_50e_adam.py']
train_dataloader = dict(sampler=dict(num_ids=16, num_instances=16, iterations=200))
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
