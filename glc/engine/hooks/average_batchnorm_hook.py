"""One set of batch statistics for all processes."""

from mmengine.dist import all_reduce_params, is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from glc.engine.loop import running_statistics
from glc.registry import HOOKS


@HOOKS.register_module()
class AverageBatchNormHook(Hook):
    """Hook that averages the running statistics of BatchNorm over the processes after every training epoch.

    A running statistic is linear in the batch statistics, so one average per epoch gives what averaging in every
    iteration would. mmengine's ``SyncBuffersHook`` averages all buffers, which destroys label tables.
    """

    priority = 'NORMAL'

    def after_train_epoch(self, runner: Runner) -> None:
        """Average ``running_mean`` and ``running_var`` of all layers."""
        average_batchnorm(runner.model)


def average_batchnorm(model: nn.Module) -> None:
    """Average the running statistics of all BatchNorm layers over the processes."""
    if is_distributed():
        all_reduce_params(running_statistics(model), op='mean')
