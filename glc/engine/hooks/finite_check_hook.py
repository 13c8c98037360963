"""Stop before a training goes on without sense: losses, gradients and weights that are no numbers."""

import math
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor
from torch.optim import Optimizer

from glc.checkpoints import non_finite
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS


@HOOKS.register_module()
class FiniteCheckHook(Hook):
    """Hook that stops a training whose loss, gradients or weights are infinite or no number.

    Loss and gradients are looked at in every iteration, weights at the end of every epoch, before a checkpoint replaces
    an earlier one. A checkpoint with such a weight is never written. A step that a gradient scaler leaves out, as it
    does now and then under mixed precision, is no error; a loss is. Our models log the mean loss over all processes,
    so all of them stop.

    An iteration costs one pass over the gradients, and the copies of two numbers to the host after mmengine has waited
    for the losses anyway; so nothing waits longer.

    Example:
        >>> hook = FiniteCheckHook()
    """

    priority = 'LOW'  # after the statistics of BatchNorm are averaged, before checkpoints are written

    def __init__(self) -> None:
        self._largest: Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Look at the gradients of every step from now on."""

        def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            parameters = (weight for group in optimizer.param_groups for weight in group['params'])
            gradients = [weight.grad for weight in parameters if weight.grad is not None]
            self._largest = torch.nn.utils.get_total_norm(gradients, math.inf)

        runner.optim_wrapper.optimizer.register_step_pre_hook(before_step)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the loss and the gradients of this iteration.

        Raises:
            RuntimeError: If they are infinite or no number; the message names the images.
        """
        largest, self._largest = self._largest, None
        losses = {name: float(value) for name, value in (outputs or {}).items()}
        if not math.isfinite(losses.get('loss', 0.0)):
            what = f'the loss is {losses["loss"]}'
        elif largest is not None and not math.isfinite(float(largest)):
            what = f'the loss is {losses.get("loss")}, but a gradient is infinite or no number'
        else:
            return
        parts = ', '.join(f'{name} {value:.6g}' for name, value in losses.items())
        raise RuntimeError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {what} ({parts}). The training stops, its last '
            'checkpoint stays. Look at the images of the batch, lower the learning rate, or train without mixed '
            f'precision; then --resume. The images are {_names(data_batch)}'
        )

    def after_train_epoch(self, runner: Runner) -> None:
        """Look at the weights, on all processes.

        Raises:
            RuntimeError: If one is infinite or no number.
        """
        bad = non_finite(unwrap(runner.model).state_dict())
        found = torch.tensor(len(bad), device=next(unwrap(runner.model).parameters()).device)
        all_reduce(found, op='max')
        if found:
            raise RuntimeError(f'epoch {runner.epoch + 1}: {_message(int(found), bad)}')

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at what is to be written.

        Raises:
            RuntimeError: If a weight is infinite or no number.
        """
        for part in ('state_dict', 'ema_state_dict'):
            if bad := non_finite(checkpoint.get(part, {})):
                raise RuntimeError(f'checkpoint not written: {_message(len(bad), bad)}')


def _message(count: int, names: list[str]) -> str:
    return (
        f'{count} tensors of the model have elements that are infinite or no number ({", ".join(names[:3])}): the '
        'training diverged. Its last checkpoint stays; lower the learning rate and resume from it'
    )


def _names(batch: Any) -> str:
    """List the files of a batch."""
    samples = batch.get('data_samples', []) if isinstance(batch, dict) else []
    paths = [sample.get('img_path') or f'number {sample.get("sample_idx")}' for sample in samples]
    return ', '.join(dict.fromkeys(paths)) or 'unknown'
