# Source training on MSMT17; an epoch draws about as many images as there are.
_base_ = ['../datasets/msmt17.py', '../schedules/source_120e.py']
train_dataloader = dict(batch_size=64, sampler=dict(num_ids=16, num_instances=4, iterations=510))
_identities = dict(head=dict(num_classes=1041))
