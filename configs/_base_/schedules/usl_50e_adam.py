# 50 epochs with Adam, which Cluster Contrast takes for convolutional networks; lr and decay are those of usl_50e.py.
_base_ = './usl_50e.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=3.5e-4, weight_decay=5e-4))
