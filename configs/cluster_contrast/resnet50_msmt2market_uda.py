_base_ = '../glc/resnet50_msmt2market_uda_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
