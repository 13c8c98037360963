"""Reinitialize the network in mid-training, keep the labels."""

from copy import deepcopy

from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.optim import Optimizer

from glc.engine.loop import batches_done
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS

from .pseudo_label_hook import PseudoLabelHook


@HOOKS.register_module()
class RestartHook(Hook):
    """Hook that restarts the network from its initial weights at the start of one epoch ("GLC + restart").

    ``PseudoLabelHook`` runs first, so the labels of that epoch come from the old network and the new one learns them.
    Optimizer state, gradient scaler and EMA weights start again too. Write the learning rate schedule as two segments
    that meet at ``epoch``; the second starts from ``lr``. The initial weights travel in the checkpoints until the
    restart has happened, so a resumed run restarts as an uninterrupted one does, and never twice.

    Args:
        epoch: 0-based epoch at whose start the network restarts.
        lr: Learning rate after the restart, of a parameter group without multiplier; None keeps the initial one.

    Example:
        >>> hook = RestartHook(epoch=15, lr=5.5e-4)
    """

    priority = 'NORMAL'

    def __init__(self, epoch: int, lr: float | None = None) -> None:
        if epoch < 1:
            raise ValueError(f'a restart needs at least one epoch before it, got epoch={epoch}')
        self.epoch = epoch
        self.lr = lr
        self._initial: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Remember the initial state, or check that a resumed run brought it."""
        begun = batches_done(runner) > 0
        if runner.epoch == 0 and not begun:
            weights = {name: value.cpu().clone() for name, value in unwrap(runner.model).state_dict().items()}
            self._initial = {'weights': weights, 'optimizer': deepcopy(runner.optim_wrapper.state_dict())}
        elif runner.epoch + begun <= self.epoch and self._initial is None:
            raise RuntimeError(
                f'cannot restart at epoch {self.epoch}: the checkpoint of epoch {runner.epoch} holds no initial '
                'weights because it was written without RestartHook; resume without the hook, or start anew'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Restart if this is the epoch for it, unless a resumed run has done so."""
        if runner.epoch != self.epoch or batches_done(runner):
            return
        assert self._initial is not None
        model = unwrap(runner.model)
        model.load_state_dict(self._initial['weights'])
        runner.optim_wrapper.load_state_dict(self._initial['optimizer'])
        self.set_lr(runner.optim_wrapper)
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):
                hook.ema_model.module.load_state_dict(model.state_dict())
                hook.ema_model.steps.zero_()
            elif isinstance(hook, PseudoLabelHook):
                hook.forget_features()
        self._initial = None
        runner.logger.info(
            f'Epoch {runner.epoch + 1}: network restarted from its initial weights, labels kept'
        )

    def set_lr(self, optimizer: Optimizer | OptimWrapper) -> None:
        """Give the parameter groups of an optimizer the learning rate after the restart."""
        if self.lr is not None:
            factor = self.lr / optimizer.defaults['lr']
            for group in optimizer.param_groups:
                group['lr'] = group.get('initial_lr', group['lr']) * factor

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Carry the initial state until the restart."""
        if self._initial is not None:
            checkpoint['restart_initial'] = self._initial

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take the initial state of a run that is being resumed."""
        self._initial = checkpoint.get('restart_initial')
