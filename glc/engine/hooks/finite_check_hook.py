"""Stop, or leave out an iteration, where losses, gradients or weights are no numbers."""

import math
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.optim import Optimizer

from glc.checkpoints import non_finite
from glc.engine.loop import LeftOutError
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

    With ``action='skip'`` such an iteration is left out, with a warning: weights, optimizer, memory bank, teacher and
    all other buffers of the model stay as they were before it, and no hook hears of it; only the iteration is counted.
    Then every iteration copies the buffers, and waits for its gradients before its step.

    Args:
        action: ``'stop'``, or ``'skip'``, which needs the training loop of :class:`~glc.engine.ReIDRunner`.
        max_skips: Iterations in a row that are left out; one more stops the training.

    Raises:
        ValueError: If ``action`` or ``max_skips`` is none of these, or gradients are accumulated with ``'skip'``.

    Example:
        >>> hook = FiniteCheckHook(action='skip')
    """

    priority = 'LOW'  # after the statistics of BatchNorm are averaged, before checkpoints are written

    def __init__(self, action: str = 'stop', max_skips: int = 10) -> None:
        if action not in ('stop', 'skip') or max_skips < 1:
            raise ValueError(
                "default_hooks.finite needs action='stop' or 'skip' and max_skips of at least 1, got "
                f'{action!r} and {max_skips}'
            )
        self.action = action
        self.max_skips = max_skips
        self._skips = 0
        self._largest: Tensor | None = None
        self._before: list[tuple[nn.Module, str, Tensor]] = []

    def before_train(self, runner: Runner) -> None:
        """Look at the gradients of every step from now on."""

        def before_step(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            parameters = (weight for group in optimizer.param_groups for weight in group['params'])
            gradients = [weight.grad for weight in parameters if weight.grad is not None]
            self._largest = torch.nn.utils.get_total_norm(gradients, math.inf)
            if self.action == 'skip' and not math.isfinite(self._largest):
                optimizer.zero_grad(set_to_none=True)  # a step without gradients changes nothing

        if self.action == 'skip' and getattr(runner.optim_wrapper, '_accumulative_counts', 1) > 1:
            raise ValueError(
                "default_hooks.finite.action='skip' cannot leave out a part of the gradients that are added up: set "
                "optim_wrapper.accumulative_counts=1, or action='stop'"
            )
        runner.optim_wrapper.optimizer.register_step_pre_hook(before_step)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Remember what the forward pass changes, if an iteration may be left out."""
        if self.action == 'skip':
            self._before = [
                (module, name, value.clone())
                for module in unwrap(runner.model).modules()
                for name, value in module.named_buffers(recurse=False)
            ]

    def after_train_step(self, runner: Runner, data_batch: Any, outputs: dict) -> None:
        """Leave out this iteration if its loss or gradients are no numbers.

        Raises:
            LeftOutError: If they are infinite or no number.
            RuntimeError: If they are that too often in a row, or the loss is but was learned from.
        """
        if self.action == 'stop':
            return
        learned = self._largest is not None and math.isfinite(self._largest)
        problem = self._problem(runner, data_batch, outputs)
        if problem is None:
            self._skips = 0
            return
        if learned or self._skips == self.max_skips:
            raise RuntimeError(f'{problem}. {_STOPS}')
        self._skips += 1
        for module, name, value in self._before:
            getattr(module, name).copy_(value)
        runner.logger.warning(f'{problem}. The iteration is left out')
        raise LeftOutError

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Look at the loss and the gradients of this iteration.

        Raises:
            RuntimeError: If they are infinite or no number; the message names the images.
        """
        problem = self._problem(runner, data_batch, outputs or {})
        if problem is not None:
            raise RuntimeError(f'{problem}. {_STOPS}')

    def _problem(self, runner: Runner, data_batch: Any, outputs: dict) -> str | None:
        """Say what is wrong with this iteration, and in which images; None where nothing is."""
        largest, self._largest = self._largest, None
        losses = {name: float(value) for name, value in outputs.items()}
        if not math.isfinite(losses.get('loss', 0.0)):
            what = f'the loss is {losses["loss"]}'
        elif largest is not None and not math.isfinite(float(largest)):
            what = f'the loss is {losses.get("loss")}, but a gradient is infinite or no number'
        else:
            return None
        parts = ', '.join(f'{name} {value:.6g}' for name, value in losses.items())
        return (
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): {what} ({parts}). The images are '
            f'{_names(data_batch)}'
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


_STOPS = (
    'The training stops, its last checkpoint stays. Look at these images, lower the learning rate, or train without '
    'mixed precision; then --resume'
)


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
