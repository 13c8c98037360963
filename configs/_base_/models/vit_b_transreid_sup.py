# TransReID, ViT-B/16 with overlapping patches, embeddings of cameras (SIE) and jigsaw patches (JPM), ImageNet weights
# (https://github.com/damo-cv/TransReID). The setting has head.num_classes and backbone.side_information.
_base_ = './vit_s_pass.py'
model = dict(
    type='SupervisedReID',
    backbone=dict(
        _delete_=True,
        type='JPMViT',
        arch='base',
        img_size=(256, 128),
        stride=12,
        drop_path_rate=0.1,
        side_weight=3.0,
        num_branches=4,
        shift=5,
        groups=2,
        init_cfg=dict(
            type='Pretrained', checkpoint='pretrained/jx_vit_base_p16_224-80ecf9dd.pth', hw_ratio=1
        ),
    ),
    neck=dict(_delete_=True, type='ReIDNeck', in_channels=768, num_tokens=5, fusion='branches'),
    head=dict(_delete_=True, type='BranchHead', in_channels=768, num_branches=5),
    bn_group_size=None,  # only the neck normalizes batches, and it sees the global one
)
