# UDA MSMT17 -> Market-1501, OSNet x0.25; from a network trained with labels on MSMT17. Sized for two CPU cores.
_base_ = [
    '../_base_/models/osnet_x0_25.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/cpu_10e.py',
    '../_base_/labelers/consensus_glc.py',
]
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
