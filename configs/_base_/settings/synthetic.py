# The generated data set, sized for two CPU cores.
_base_ = ['../datasets/synthetic.py', '../schedules/cpu_10e.py']
optim_wrapper = dict(optimizer=dict(lr=1e-3))
_cnn = dict(bn_group_size=32)
_dbscan = dict(pseudo_label=dict(labeler=dict(eps=0.5, k1=20), num_workers=1))
