# USL on your own folder of person crops, MobileNetV2 from ImageNet; one GPU, or a CPU with patience.
_base_ = [
    '../_base_/models/mobilenetv2.py',
    '../_base_/settings/image_folder_usl_adam.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._cnn
