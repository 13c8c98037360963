# Pseudo labels of Cluster Contrast: DBSCAN on the k-reciprocal Jaccard distance, every epoch; no corrector.
_base_ = '../default_runtime.py'
default_hooks = dict(
    pseudo_label=dict(
        type='PseudoLabelHook',
        labeler=dict(type='JaccardDBSCAN', eps=0.6, min_samples=4, k1=30, k2=6),
        interval=1,
    )
)
