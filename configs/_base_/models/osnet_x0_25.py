# OSNet x0.25 in torchreid's layout, trained with labels on MSMT17: small enough for a CPU.
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ReIDDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        channels_last=True,  # twice as fast on a CPU
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='OSNet',
        width='x0_25',
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/osnet_x0_25_msmt17.pth'),
    ),
    neck=dict(type='ReIDNeck', in_channels=512),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.05, momentum=0.2, mode='hard'),
    ),
    bn_group_size=64,
)
