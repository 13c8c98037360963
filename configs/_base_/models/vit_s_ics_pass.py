# ViT-S/16 with the convolutional IBN stem (ICS) and part tokens. The published weights, of TransReID-SSL
# (https://github.com/damo-cv/TransReID-SSL), have no part tokens: those start at random, and the log says so.
model = dict(
    type='UnsupervisedReID',
    data_preprocessor=dict(
        type='ReIDDataPreprocessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='PASSViT',
        arch='small',
        img_size=(256, 128),
        num_part_tokens=3,
        stem='ics',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/vit_small_ics_cfs_lup.pth', hw_ratio=2),
    ),
    neck=dict(type='ReIDNeck', in_channels=384, num_tokens=4, multi=False, fusion='cat'),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.05, momentum=0.2, mode='hard'),
    ),
    bn_group_size=64,
)
