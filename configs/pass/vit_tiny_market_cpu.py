# Market-1501 without labels, a small ViT from random weights, on one CPU core.
_base_ = [
    '../_base_/models/pass_pretraining_vit_tiny.py',
    '../_base_/datasets/market1501_pass_cpu.py',
    '../_base_/schedules/pass_cpu.py',
]
