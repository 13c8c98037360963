# Source training on the generated data set with identities, a small ResNet from random weights.
_base_ = [
    '../_base_/models/resnet10_small_sup.py',
    '../_base_/datasets/synthetic.py',
    '../_base_/schedules/source_cpu_10e.py',
    '../_base_/labelers/identities.py',
]
model = dict(head=dict(num_classes=100))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
