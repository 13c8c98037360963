# UDA MSMT17 -> Market-1501, OSNet x0.25; from a network trained with labels on MSMT17. Sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/cpu_12e.py',
    '../_base_/labelers/jaccard_dbscan_glc.py',
]
train_dataloader = dict(batch_size=128, num_workers=1, sampler=dict(num_ids=16, iterations=40))
default_hooks = dict(
    pseudo_label=dict(
        labeler=dict(eps=0.5),
        corrector=dict(
            _delete_=True, type='GLC', k=15, subgraphs_per_epoch=8, link_threshold=0.6, overlap_threshold=0.6
        ),
        correct_begin=4,
        correct_interval=2,
        num_workers=1,
    )
)
