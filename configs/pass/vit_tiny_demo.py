# The generated data set (tools/dataset_tools/make_synthetic.py --out data/synthetic), about a minute on one CPU core.
_base_ = './vit_tiny_market_cpu.py'
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, begin=1, end=2, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(max_epochs=2)
train_dataloader = dict(dataset=dict(type='SyntheticReID', data_root='data/synthetic'))
test_dataloader = dict(dataset=dict(type='SyntheticReID', data_root='data/synthetic'))
