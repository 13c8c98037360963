# USL on your own folder of person crops. A leaf names the folder and, where file names or folders tell the camera, a
# pattern (ImageFolderReID). There is nothing to evaluate on; to evaluate, give val_* and test_* a labeled data set.
# A leaf takes up `_hooks` as `default_hooks`: the training images are labeled under the test pipeline.
_base_ = ['../datasets/image_folder.py', '../schedules/usl_50e.py']
val_cfg = test_cfg = None
_cnn = dict(bn_group_size=64)
_vit = dict(neck=dict(multi=False, fusion='cat'), bn_group_size=64)
_hooks = dict(pseudo_label=dict(pipeline={{_base_.test_pipeline}}))
