# MSMT17 in batches of 16 identities x 4 images; an epoch draws about as many images as there are.
_base_ = './msmt17.py'
train_dataloader = dict(batch_size=64, sampler=dict(num_ids=16, num_instances=4, iterations=510))
