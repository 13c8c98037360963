# USL on VeRi-776 for a ResNet: the recipe of Cluster Contrast, vehicles of 224 x 224 pixels.
_base_ = ['../datasets/veri776.py', '../schedules/usl_50e_adam.py']
train_dataloader = dict(sampler=dict(num_ids=16, num_instances=16, iterations=400))
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
