# CUHK03, new protocol, detected boxes (boxes='labeled' for those drawn by hand), otherwise as Market-1501.
_base_ = './market1501.py'
train_dataloader = dict(dataset=dict(type='CUHK03', data_root='data/cuhk03', boxes='detected'))
val_dataloader = dict(dataset=dict(type='CUHK03', data_root='data/cuhk03', boxes='detected'))
test_dataloader = val_dataloader
