# Your own folder of person crops, from a network trained with labels on other people; sized for two CPU cores.
_base_ = ['../datasets/image_folder.py', '../schedules/cpu_10e.py']
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
test_dataloader = dict(num_workers=2)
val_cfg = None
_cnn = dict(bn_group_size=64)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.5)))
