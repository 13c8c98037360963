# USL on your own folder of person crops, MobileNetV2 from ImageNet: the name of earlier releases.
_base_ = 'glc/mobilenetv2_image_folder.py'
