# Consensus labels, corrected by GLC (its own defaults, not the published numbers) in every epoch from the fifth on.
_base_ = './consensus.py'
default_hooks = dict(pseudo_label=dict(corrector=dict(type='GLC'), correct_begin=4, correct_interval=1))
