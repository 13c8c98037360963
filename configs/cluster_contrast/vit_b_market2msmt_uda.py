_base_ = '../glc/vit_b_market2msmt_uda_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
