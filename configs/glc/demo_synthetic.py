# The generated data set, a small ResNet from random weights, sized for two CPU cores (tools/quickstart.sh).
_base_ = [
    '../_base_/models/resnet10_small.py',
    '../_base_/datasets/synthetic.py',
    '../_base_/schedules/cpu_10e.py',
    '../_base_/labelers/jaccard_dbscan_glc_cpu.py',
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
default_hooks = dict(pseudo_label=dict(labeler=dict(eps=0.5, k1=20), num_workers=1))
