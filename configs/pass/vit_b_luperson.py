_base_ = [
    '../_base_/models/pass_pretraining_vit_b.py',
    '../_base_/datasets/luperson.py',
    '../_base_/schedules/pass_100e.py',
]
# Half of the batch of ViT-S: 8 x 64 images.
train_dataloader = dict(batch_size=512, sampler=dict(batch_size=512))
