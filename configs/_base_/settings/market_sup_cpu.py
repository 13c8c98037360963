# Source training on Market-1501, sized for two CPU cores.
_base_ = ['../datasets/market1501.py', '../schedules/source_cpu_10e.py']
train_dataloader = dict(
    batch_size=64, num_workers=2, sampler=dict(num_ids=16, num_instances=4, iterations=100)
)
_identities = dict(head=dict(num_classes=751))
