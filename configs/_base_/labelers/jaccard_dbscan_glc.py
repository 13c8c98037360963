# Pseudo labels of GLC: those of Cluster Contrast, corrected from epoch 10 on in every fifth epoch. The published
# numbers are those of glc.core.correctors.GLC.published(). A CPU needs hours for one correction: lower
# corrector.subgraphs_per_epoch, steps_per_subgraph and clusters_per_subgraph there.
_base_ = './jaccard_dbscan.py'
default_hooks = dict(
    pseudo_label=dict(corrector=dict(type='PublishedGLC'), correct_begin=10, correct_interval=5)
)
