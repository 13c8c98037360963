# Labels, evaluation and checkpoints from an average over the last epoch or so. Compare with configs/glc.
_base_ = '../glc/osnet_x0_25_msmt2market_uda.py'
default_hooks = dict(mean_teacher=dict(type='MeanTeacherHook', momentum=0.01))
