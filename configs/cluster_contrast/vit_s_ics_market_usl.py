_base_ = '../glc/vit_s_ics_market_usl_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
