# USL on your own folder of person crops. A leaf names the folder and, where file names or folders tell the camera, a
# pattern (ImageFolderReID). Nothing is evaluated during training; for that, give val_* a labeled data set.
_base_ = ['../datasets/image_folder.py', '../schedules/usl_50e.py']
val_cfg = None
_cnn = dict(bn_group_size=64)
_vit = dict(neck=dict(multi=False, fusion='cat'), bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.6)))
_hooks = dict(pseudo_label=dict(pipeline={{_base_.test_pipeline}}))  # of leaves of earlier releases
