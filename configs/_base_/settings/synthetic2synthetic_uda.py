# UDA between two generated data sets, sized for one CPU core (tools/quickstart.sh).
# Target made by: python tools/dataset_tools/make_synthetic.py --out data/synthetic_target --seed 1
_base_ = './synthetic.py'
train_dataloader = dict(
    num_workers=1, sampler=dict(iterations=25), dataset=dict(data_root='data/synthetic_target')
)
val_dataloader = test_dataloader = dict(num_workers=1, dataset=dict(data_root='data/synthetic_target'))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type='StepLR', step_size=4, gamma=0.1, by_epoch=True)]
train_cfg = dict(max_epochs=6, val_interval=2)
