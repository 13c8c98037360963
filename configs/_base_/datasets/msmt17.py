# MSMT17, V1 or V2 as found, otherwise as Market-1501.
_base_ = './market1501.py'
train_dataloader = dict(dataset=dict(type='MSMT17', data_root='data/MSMT17'))
val_dataloader = dict(dataset=dict(type='MSMT17', data_root='data/MSMT17'))
test_dataloader = val_dataloader
