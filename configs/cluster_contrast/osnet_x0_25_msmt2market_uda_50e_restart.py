_base_ = '../glc/osnet_x0_25_msmt2market_uda_50e_restart.py'
default_hooks = dict(pseudo_label=dict(corrector=None))
