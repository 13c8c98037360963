# UDA between two generated data sets.
# Target made by: python tools/dataset_tools/make_synthetic.py --out data/synthetic_target --seed 1
_base_ = './synthetic.py'
train_dataloader = dict(dataset=dict(data_root='data/synthetic_target'))
val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/synthetic_target'))
