# Consensus labels, corrected by GLC in every epoch from the fifth on.
_base_ = './consensus.py'
default_hooks = dict(
    pseudo_label=dict(
        corrector=dict(type='GLC', linking='communities', careful=False), correct_begin=4, correct_interval=1
    )
)
