# The plain memory's loss, plus the losses over proxies per cluster and camera. Compare with configs/glc.
_base_ = '../glc/vit_s_msmt_usl.py'
model = dict(head=dict(memory=dict(type='CameraMemory', cluster_weight=1.0)))
