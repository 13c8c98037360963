# Consensus labels, corrected in a metric learnt from them from epoch 4 on: seconds per correction on a CPU.
_base_ = './consensus.py'
default_hooks = dict(
    pseudo_label=dict(corrector=dict(type='MetricConsensus'), correct_begin=4, correct_interval=1)
)
