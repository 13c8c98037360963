# UDA between two generated data sets, a small ResNet; from the network of configs/source/demo_synthetic_sup.py.
# Target made by: python tools/dataset_tools/make_synthetic.py --out data/synthetic_target --seed 1
_base_ = './demo_synthetic.py'
model = dict(
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='work_dirs/demo_synthetic_sup/epoch_10.pth'))
)
train_dataloader = dict(dataset=dict(data_root='data/synthetic_target'))
val_dataloader = test_dataloader = dict(dataset=dict(data_root='data/synthetic_target'))
