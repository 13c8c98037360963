"""Ending a training in time, at the end of an epoch."""

import time

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.registry import HOOKS


@HOOKS.register_module()
class TimeBudgetHook(Hook):
    """Hook that ends the training after an epoch if another one would not end before the deadline.

    The next epoch is expected to take as long as the longest one of this process. The checkpoint of the last epoch is
    written as always, so the run can be resumed. The seconds of every epoch, labels and training without evaluation,
    are logged as ``seconds/epoch``.

    Args:
        deadline: Unix time in seconds; None only logs.

    Example:
        >>> hook = TimeBudgetHook(deadline=time.time() + 3600)
    """

    priority = 'VERY_HIGH'

    def __init__(self, deadline: float | None = None) -> None:
        self.deadline = deadline
        self._start = 0.0
        self._longest = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin to measure, before the labels."""
        self._start = time.time()

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the time; on all processes, stop if the first one finds it late."""
        now = time.time()
        seconds = now - self._start
        self._longest = max(self._longest, seconds)
        runner.visualizer.add_scalars({'seconds/epoch': seconds}, step=runner.epoch)
        stop = [self.deadline is not None and now + self._longest > self.deadline]
        broadcast_object_list(stop)
        if stop[0] and runner.epoch + 1 < runner.max_epochs:
            runner.logger.info(
                f'Epoch {runner.epoch + 1}: stopped, another epoch would not end in time; resume to go on'
            )
            runner.train_loop.stop_training = True
