_base_ = [
    '../_base_/models/pass_pretraining_vit_b.py',
    '../_base_/datasets/luperson.py',
    '../_base_/schedules/pass_100e.py',
]
