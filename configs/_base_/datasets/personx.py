# PersonX, otherwise as Market-1501.
_base_ = './market1501.py'
train_dataloader = dict(dataset=dict(type='PersonX', data_root='data/PersonX'))
val_dataloader = dict(dataset=dict(type='PersonX', data_root='data/PersonX'))
test_dataloader = val_dataloader
