# VeRi-776: vehicles, 224 x 224 pixels, otherwise as Market-1501.
_base_ = './market1501.py'
train_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=10, size=(224, 224)),
    dict(type='RandomErasing', prob=0.5, area=(0.02, 0.4), aspect=(0.3, 3.33)),
    dict(type='PackReIDInputs'),
]
test_pipeline = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(224, 224), backend='pillow', interpolation='bicubic'),
    dict(type='PackReIDInputs'),
]
train_dataloader = dict(dataset=dict(type='VeRi776', data_root='data/VeRi', pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type='VeRi776', data_root='data/VeRi', pipeline=test_pipeline))
test_dataloader = val_dataloader
