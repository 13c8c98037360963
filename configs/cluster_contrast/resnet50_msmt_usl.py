_base_ = '../glc/resnet50_msmt_usl_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
