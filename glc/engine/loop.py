"""The loop over epochs, in which no evaluation is lost."""

from mmengine.hooks import CheckpointHook
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

__all__ = ['EpochLoop']


class EpochLoop(EpochBasedTrainLoop):
    """mmengine's loop, which after a resume also makes up for the evaluation of the epoch before.

    A checkpoint is written before its epoch is evaluated, so a stop in between would lose the score.
    """

    def run(self) -> nn.Module:
        """Train to the last epoch."""
        for hook in self.runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                self.runner.logger.warning(
                    'default_hooks.checkpoint.by_epoch=False writes checkpoints within epochs, which --resume refuses: '
                    'set default_hooks.checkpoint.by_epoch=True and its interval in epochs'
                )
        self.runner.call_hook('before_train')
        if self._epoch:
            self._evaluate_if_due()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._evaluate_if_due()
        self.runner.call_hook('after_train')
        return self.runner.model

    def _evaluate_if_due(self) -> None:
        self._decide_current_val_interval()
        due = self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs
        if self.runner.val_loop is not None and self._epoch >= self.val_begin and due:
            self.runner.val_loop.run()
