# No labeler: the identities of the training set are its labels. For configs/source only.
_base_ = '../default_runtime.py'
default_hooks = dict(identity_label=dict(type='IdentityLabelHook'))
