# Pseudo labels of GLC: those of Cluster Contrast, corrected from epoch 10 on in every fifth epoch. These are
# the published numbers; a CPU needs hours for one correction: lower subgraphs_per_epoch, steps_per_subgraph
# and clusters_per_subgraph there.
_base_ = './jaccard_dbscan.py'
default_hooks = dict(
    pseudo_label=dict(
        corrector=dict(
            type='GLC',
            k=50,
            hidden_dim=512,
            epochs=2,
            subgraphs_per_epoch=202,
            clusters_per_subgraph=350,
            member_fraction=0.9,
            min_nodes=100,
            max_nodes=100_000,
            steps_per_subgraph=80,
            batch_fraction=1 / 40,
            lr=0.1,
            scale_inputs=False,
            distance_start=False,
            clip_norm=None,
            patience=None,
            linking='components',
            use_cameras=False,
            link_threshold=0.6,
            overlap_threshold=0.6,
            min_cluster_size=5,
        ),
        correct_begin=10,
        correct_interval=5,
    )
)
