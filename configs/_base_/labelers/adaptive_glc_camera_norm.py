# The same, on features whose BatchNorm layers normalize the images of every camera by their own statistics. It is for
# networks that were trained on other cameras (docs/label_engine.md), with BatchNorm layers, and cameras of 64 images.
_base_ = './adaptive_glc.py'
default_hooks = dict(pseudo_label=dict(camera_norm=True))
