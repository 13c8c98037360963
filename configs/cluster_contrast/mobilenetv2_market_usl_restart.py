_base_ = '../glc/mobilenetv2_market_usl_restart.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
