# USL on Market-1501, MobileNetV2 from ImageNet.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/datasets/market1501.py',
    '../_base_/schedules/usl_50e_adam.py',
    '../_base_/labelers/consensus_glc.py',
]
