_base_ = '../glc/efficientnet_lite0_market_usl_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
