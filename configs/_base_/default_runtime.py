# What every run shares. The labelers build on this file, so a leaf does not list it.
default_scope = 'glc'
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # After every epoch, and within it where the last one is 15 minutes old. The last checkpoint is the result; the
    # best one on the test set is kept beside it, under that name.
    checkpoint=dict(
        type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best='reid/mAP', rule='greater'
    ),
    plain_checkpoint=dict(type='PlainCheckpointHook'),
    # Stops where a loss, gradient or weight is infinite or no number; action='skip' leaves an iteration out.
    finite=dict(type='FiniteCheckHook'),
    # One result on any number of processes, and after a resume.
    average_batchnorm=dict(type='AverageBatchNormHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    # Calls set_epoch of the sampler.
    sampler_seed=dict(type='DistSamplerSeedHook'),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # Seconds that processes wait for one of them, as for rank 0 while it corrects labels.
    dist_cfg=dict(backend='nccl', timeout=7200),
    # Seconds in which all processes have to come to the start, after which the others end; None waits for ever.
    start_timeout=300,
    # Seconds in which all processes wait and none works, after which the run ends; None never ends it.
    stall_timeout=90,
)
randomness = dict(seed=0)
# The bicubic of the published numbers; 'torch' is faster and nearly the same, 'cv2' is faster still and differs.
resize_backend = 'pillow'
# Decoded training images, the same pixels: 'auto' in memory where they fit, 'off', or a folder ('/data/cache').
image_cache = 'auto'
# TensorBoard is left out where it is not installed. W&B and MLflow: docs/watching.md.
visualizer = dict(
    type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
)
log_level = 'INFO'
load_from = None
resume = False
