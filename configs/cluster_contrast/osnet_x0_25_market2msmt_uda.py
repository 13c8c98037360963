_base_ = '../glc/osnet_x0_25_market2msmt_uda_published.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
