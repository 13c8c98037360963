_base_ = '../glc/resnet50_ibn_msmt_usl.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
