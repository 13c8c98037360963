# usl_50e_restart.py with Adam.
_base_ = './usl_50e_restart.py'
optim_wrapper = dict(optimizer=dict(_delete_=True, type='Adam', lr=3.5e-4, weight_decay=5e-4))
