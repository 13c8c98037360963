# Source training on the generated data set.
_base_ = ['../datasets/synthetic.py', '../schedules/source_cpu_10e.py']
train_dataloader = dict(sampler=dict(iterations=25))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
_identities = dict(head=dict(num_classes=100))
