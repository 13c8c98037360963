# DukeMTMC-reID, otherwise as Market-1501.
_base_ = './market1501.py'
train_dataloader = dict(dataset=dict(type='DukeMTMCreID', data_root='data/DukeMTMC-reID'))
val_dataloader = dict(dataset=dict(type='DukeMTMCreID', data_root='data/DukeMTMC-reID'))
test_dataloader = val_dataloader
