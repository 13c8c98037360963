# Pseudo labels of Cluster Contrast, corrected in every epoch by GLC with its own defaults: what the correction alone
# makes of published labels.
_base_ = './jaccard_dbscan.py'
default_hooks = dict(pseudo_label=dict(corrector=dict(type='GLC')))
