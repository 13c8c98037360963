_base_ = '../glc/vit_s_msmt_usl.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
