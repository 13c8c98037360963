_base_ = '../glc/vit_b_msmt_usl_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
