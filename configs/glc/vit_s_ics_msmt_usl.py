# USL on MSMT17, ViT-S/16 with the convolutional (ICS) stem.
_base_ = [
    '../_base_/models/vit_s_ics_pass.py',
    '../_base_/settings/msmt_usl.py',
    '../_base_/labelers/adaptive_glc.py',
]
model = _base_._vit
