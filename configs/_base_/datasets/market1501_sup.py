# Market-1501 in batches of 16 identities x 4 images; an epoch draws about as many images as there are.
_base_ = './market1501.py'
train_dataloader = dict(batch_size=64, sampler=dict(num_ids=16, num_instances=4, iterations=202))
