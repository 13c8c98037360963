# USL on VeRi-776, ResNet-50, with the map equation instead of DBSCAN: the InfoMap variant of Cluster Contrast.
_base_ = './resnet50_veri_usl.py'
default_hooks = dict(
    pseudo_label=dict(
        labeler=dict(_delete_=True, type='CosineMapEquation', k=15, min_similarity=0.5, min_cluster_size=5)
    )
)
