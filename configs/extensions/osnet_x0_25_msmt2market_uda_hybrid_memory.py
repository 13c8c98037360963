# Images, clusters and outliers as in SpCL, on reliable labels. Compare with configs/glc and corrector=None there.
_base_ = '../glc/osnet_x0_25_msmt2market_uda.py'
model = dict(head=dict(memory=dict(_delete_=True, type='HybridMemory')))
train_dataloader = dict(sampler=dict(outlier_groups=2))
default_hooks = dict(
    pseudo_label=dict(
        labeler=dict(_delete_=True, type='SelfPacedReliability', labeler=dict(type='MultiScaleConsensus')),
        corrector=None,
        min_images=1,
        reach=1,
    )
)
