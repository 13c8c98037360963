_base_ = [
    '../_base_/models/pass_pretraining_vit_s_ics.py',
    '../_base_/datasets/luperson.py',
    '../_base_/schedules/pass_100e.py',
]
sync_bn = 'torch'  # batch statistics of all processes
