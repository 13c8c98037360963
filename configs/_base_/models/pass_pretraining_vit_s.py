# PASS pre-training of a ViT-S/16 with three part tokens; four projection heads of 65,536 outputs.
model = dict(
    type='PASSPretraining',
    data_preprocessor=dict(
        type='MultiCropDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
    ),
    backbone=dict(
        type='PASSViT',
        arch='small',
        img_size=(256, 128),
        num_part_tokens=3,
        stem='patch',
        drop_path_rate=0.1,
    ),
    head=dict(type='ProjectionHead', hidden_channels=2048, bottleneck_channels=256, num_outputs=65536),
    distillation=dict(student_temperature=0.1, teacher_temperature=0.04, centre_momentum=0.9),
)
