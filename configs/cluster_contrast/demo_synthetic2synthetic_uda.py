_base_ = '../glc/demo_synthetic2synthetic_uda.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
