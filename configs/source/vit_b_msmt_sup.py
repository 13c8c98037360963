# Source training on MSMT17 with identities, PASS ViT-B/16.
_base_ = [
    '../_base_/models/vit_b_pass_sup.py',
    '../_base_/datasets/msmt17_sup.py',
    '../_base_/schedules/source_120e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=1041))
