# USL on your own folder of person crops for small convolutional networks.
_base_ = ['../datasets/image_folder.py', '../schedules/usl_50e_adam.py']
val_cfg = None
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
