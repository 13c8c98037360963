# ViT-B/16 with PASS part tokens, pre-trained on LUPerson (https://github.com/CASIA-IVA-Lab/PASS-reID).
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
        arch='base',
        img_size=(256, 128),
        num_part_tokens=3,
        stem='patch',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='pretrained/pass_vit_base_full.pth', hw_ratio=2),
    ),
    neck=dict(type='ReIDNeck', in_channels=768, num_tokens=4, multi=False, fusion='cat'),
    head=dict(
        type='ContrastHead',
        memory=dict(type='ClusterMemory', temperature=0.05, momentum=0.2, mode='hard'),
    ),
    bn_group_size=64,
)
