_base_ = '../glc/resnet50_market2msmt_uda_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
