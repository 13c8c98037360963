# The plain memory's loss, plus the losses over proxies per cluster and camera. Compare with configs/glc.
_base_ = '../glc/osnet_x0_25_msmt2market_uda.py'
model = dict(head=dict(memory=dict(type='CameraMemory', cluster_weight=1.0)))
