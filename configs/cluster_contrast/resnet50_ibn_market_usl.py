_base_ = '../glc/resnet50_ibn_market_usl_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
