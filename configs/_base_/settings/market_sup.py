# Source training on Market-1501; an epoch draws about as many images as there are.
# A leaf takes up `_identities` as `model`.
_base_ = ['../datasets/market1501.py', '../schedules/source_120e.py']
train_dataloader = dict(batch_size=64, sampler=dict(num_ids=16, num_instances=4, iterations=202))
_identities = dict(head=dict(num_classes=751))
