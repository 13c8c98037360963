# Source training on Market-1501 with identities, PASS ViT-S/16.
_base_ = [
    '../_base_/models/vit_s_pass_sup.py',
    '../_base_/datasets/market1501_sup.py',
    '../_base_/schedules/source_120e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=751))
