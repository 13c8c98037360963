"""Schedules of self-distillation: teacher, weight decay, gradients."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.core.losses import clip_each_, cosine_between
from glc.engine.unwrap import unwrap
from glc.registry import HOOKS


@HOOKS.register_module()
class SelfDistillationHook(Hook):
    """Hook of what DINO and PASS change per iteration beside the learning rate.

    - The teacher follows the student after every step; its momentum rises along a cosine to 1.
    - The weight decay follows a cosine from the optimizer's value; parameter groups without weight decay stay without.
    - A loss that is infinite or no number stops the run.
    - Before a step, each parameter's gradient is limited by itself, and in the first epochs the last layers of the
      heads keep their weights.

    All of it depends on the iteration only, so nothing is stored for a resume. The model has ``update_teacher`` and
    ``last_layers``, as :class:`~glc.models.PASSPretraining` has.

    Args:
        teacher_momentum: Momentum of the teacher at the start.
        final_weight_decay: Weight decay at the end; None keeps the optimizer's.
        frozen_epochs: Epochs in which the last layers keep their weights.
        clip_norm: Largest norm of the gradient of one parameter; None does not limit it.
        check_interval: Iterations of an epoch from one look at the loss to the next.
        temperature_warm_up: Teacher temperature of the first epoch, and the number of epochs in which it rises to that
            of the loss; None keeps it.

    Example:
        >>> hook = SelfDistillationHook(teacher_momentum=0.996, final_weight_decay=0.4)
    """

    priority = 'NORMAL'

    def __init__(
        self,
        teacher_momentum: float = 0.996,
        final_weight_decay: float | None = 0.4,
        frozen_epochs: int = 1,
        clip_norm: float | None = 3.0,
        check_interval: int = 50,
        temperature_warm_up: tuple[float, int] | None = None,
    ) -> None:
        if not 0 <= teacher_momentum <= 1:
            raise ValueError(f'teacher_momentum must be in [0, 1], got {teacher_momentum}')
        self.teacher_momentum = teacher_momentum
        self.final_weight_decay = final_weight_decay
        self.frozen_epochs = frozen_epochs
        self.clip_norm = clip_norm
        self.check_interval = check_interval
        self.temperature_warm_up = temperature_warm_up
        self._final_temperature = 0.0

    def before_train(self, runner: Runner) -> None:
        """Change the gradients of every step from now on; under mixed precision they are unscaled by then."""
        model, optimizer = unwrap(runner.model), runner.optim_wrapper.optimizer
        if self.temperature_warm_up is not None:
            self._final_temperature = model.distillation.teacher_temperature

        def before_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            if self.clip_norm is not None:
                clip_each_((p for group in optimizer.param_groups for p in group['params']), self.clip_norm)
            if runner.epoch < self.frozen_epochs:
                for weight in model.last_layers():
                    weight.grad = None  # not 0: the optimizer must leave it out, weight decay and moments too

        optimizer.register_step_pre_hook(before_step)

    def before_train_epoch(self, runner: Runner) -> None:
        """Set the teacher temperature of this epoch."""
        if self.temperature_warm_up is not None:
            start, epochs = self.temperature_warm_up
            done = min(runner.epoch / max(epochs - 1, 1), 1.0)
            temperature = start + done * (self._final_temperature - start)
            unwrap(runner.model).distillation.teacher_temperature = temperature

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Set the weight decay of this iteration."""
        optimizer = runner.optim_wrapper.optimizer
        if self.final_weight_decay is None:
            return
        decay = cosine_between(optimizer.defaults['weight_decay'], self.final_weight_decay, _progress(runner))
        for group in optimizer.param_groups:
            if group['weight_decay'] > 0:
                group['weight_decay'] = decay
        runner.message_hub.update_scalar('train/weight_decay', decay)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Let the teacher follow the student, and look at the loss."""
        if self.every_n_inner_iters(batch_idx, self.check_interval):
            assert outputs is not None
            if not torch.isfinite(outputs['loss']):
                raise RuntimeError(
                    f'the loss of iteration {runner.iter} is {outputs["loss"].item()}: lower the learning rate, or '
                    'train without mixed precision'
                )
        momentum = cosine_between(self.teacher_momentum, 1.0, _progress(runner))
        unwrap(runner.model).update_teacher(momentum)
        runner.message_hub.update_scalar('train/teacher_momentum', momentum)


def _progress(runner: Runner) -> float:
    return runner.iter / runner.max_iters
