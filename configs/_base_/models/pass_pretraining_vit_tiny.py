# PASS pre-training of a small ViT (patches of 8 pixels, 64 x 32 images) with small heads: for a CPU.
_base_ = './pass_pretraining_vit_s.py'
model = dict(
    backbone=dict(
        arch=dict(_delete_=True, dim=96, depth=4, heads=3), img_size=(64, 32), patch_size=8, stride=8
    ),
    head=dict(hidden_channels=256, bottleneck_channels=128, num_outputs=4096),
)
