# UDA Market-1501 -> MSMT17 for OSNet, sized for two CPU cores.
_base_ = ['../datasets/msmt17.py', '../schedules/cpu_10e.py']
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.7)))
