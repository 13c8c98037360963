_base_ = '../glc/demo_synthetic.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
