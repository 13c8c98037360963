"""The schedule of a config, without a run of it."""

import copy
import warnings

import numpy as np
import torch
from mmengine.config import Config
from mmengine.optim import _ParamScheduler

import glc.engine  # noqa: F401  (registers hooks, labelers and correctors)
from glc.apis.config_checks import ConfigError
from glc.engine import PseudoLabelHook, RestartHook
from glc.registry import HOOKS, PARAM_SCHEDULERS
from glc.visualization import Schedule

__all__ = ['plan_schedule']

_MOMENTS = 100  # of an epoch, where its number of iterations is not known before the data are


def plan_schedule(cfg: Config) -> Schedule:
    """Find out what the training of a config does in which epoch; it needs no data and no weights.

    The learning rate is that of a parameter group without multiplier.

    Args:
        cfg: Config with ``train_cfg``, ``optim_wrapper`` and ``param_scheduler``.

    Returns:
        The schedule.

    Raises:
        ConfigError: If the config does not train by epochs with one optimizer, or a scheduler counts iterations and
            nothing says how many an epoch has.
    """
    epochs = (cfg.get('train_cfg') or {}).get('max_epochs')
    lr = (cfg.get('optim_wrapper') or {}).get('optimizer', {}).get('lr')
    if epochs is None or lr is None:
        missing = 'train_cfg.max_epochs' if epochs is None else 'optim_wrapper.optimizer.lr'
        raise ConfigError(
            f'the schedule of a training by epochs needs {missing}, which the config does not have'
        )
    scale = cfg.get('auto_scale_lr') or {}
    if scale.get('enable'):
        lr *= cfg.train_dataloader.batch_size / scale['base_batch_size']
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    built = [
        HOOKS.build(copy.deepcopy(hook))
        for hook in hooks
        if isinstance(hook, dict) and hook.get('type') in (PseudoLabelHook.__name__, RestartHook.__name__)
    ]
    labels = [hook for hook in built if isinstance(hook, PseudoLabelHook)]
    restarts = [hook for hook in built if isinstance(hook, RestartHook)]

    def those(happens: list[bool]) -> tuple[int, ...]:
        return tuple(epoch for epoch, does in enumerate(happens, 1) if does)

    def evaluated(epoch: int) -> bool:
        due = epoch % cfg.train_cfg.get('val_interval', 1) == 0 or epoch == epochs
        return bool(cfg.get('val_dataloader')) and due and epoch >= cfg.train_cfg.get('val_begin', 1)

    return Schedule(
        _learning_rates(cfg, epochs, lr, restarts),
        those([any(hook.labels_anew(epoch) for hook in labels) for epoch in range(epochs)]),
        those([any(hook.corrector and hook.corrects(epoch) for hook in labels) for epoch in range(epochs)]),
        those([any(epoch in hook.frozen_epochs for hook in labels) for epoch in range(epochs)]),
        those([any(hook.epoch == epoch for hook in restarts) for epoch in range(epochs)]),
        those([evaluated(epoch) for epoch in range(1, epochs + 1)]),
    )


def _learning_rates(cfg: Config, epochs: int, lr: float, restarts: list[RestartHook]) -> np.ndarray:
    """Go through the schedulers as ParamSchedulerHook does; returns (epochs, moments of an epoch)."""
    known = (cfg.get('train_dataloader') or {}).get('sampler', {}).get('iterations')
    length = known or _MOMENTS
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    plans = cfg.get('param_scheduler') or []
    schedulers: list[_ParamScheduler] = []
    for plan in plans if isinstance(plans, list | tuple) else [plans]:
        if not plan.get('by_epoch', True) and not known:
            raise ConfigError(
                f'param_scheduler: {plan["type"]} counts iterations, and an epoch has as many as the data allow: give '
                'train_dataloader.sampler.iterations'
            )
        context = {'optimizer': optimizer, 'epoch_length': length}
        schedulers.append(PARAM_SCHEDULERS.build(copy.deepcopy(plan), default_args=context))
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    group = optimizer.param_groups[0]
    rates = np.empty((epochs, length if by_iteration else 1))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimizer takes no step
        for epoch in range(epochs):
            for hook in restarts:
                if hook.epoch == epoch:
                    hook.set_lr(optimizer)
            for moment in range(rates.shape[1]):
                rates[epoch, moment] = group['lr']
                for scheduler in by_iteration:
                    scheduler.step()
            for scheduler in schedulers:
                if scheduler.by_epoch:
                    scheduler.step()
    return rates
