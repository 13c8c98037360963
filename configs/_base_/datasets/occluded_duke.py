# Occluded-Duke, otherwise as Market-1501.
_base_ = './market1501.py'
train_dataloader = dict(dataset=dict(type='OccludedDuke', data_root='data/Occluded_Duke'))
val_dataloader = dict(dataset=dict(type='OccludedDuke', data_root='data/Occluded_Duke'))
test_dataloader = val_dataloader
