# TransReID on MSMT17, with the published images and sampler.
# A leaf takes up `_identities` as `model`.
_base_ = ['../datasets/msmt17.py', '../schedules/source_transreid_120e.py', './source_images.py']
train_dataloader = dict(
    batch_size=64, sampler=_base_._source_sampler, dataset=dict(pipeline=_base_._source_train_pipeline)
)
val_dataloader = dict(dataset=dict(pipeline=_base_._source_test_pipeline))
test_dataloader = val_dataloader
_identities = dict(head=dict(num_classes=1041), backbone=dict(side_information=dict(cam_id=15)))
