# Source training on Market-1501 with identities, PASS ViT-B/16.
_base_ = [
    '../_base_/models/vit_b_pass_sup.py',
    '../_base_/datasets/market1501_sup.py',
    '../_base_/schedules/source_120e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=751))
