"""The schedule of a run that is resumed."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.optim import _ParamScheduler

__all__ = ['resume_schedulers']

# What a scheduler changes as it goes; the rest of its state is its plan.
_PROGRESS = ('base_values', 'last_step', 'verbose', '_global_step', '_last_value')


def resume_schedulers(
    schedulers: Sequence[_ParamScheduler],
    stored: Sequence[Mapping[str, Any]],
    groups: Sequence[dict[str, Any]],
    epochs: int,
    epoch_length: int,
    batches: int = 0,
) -> str | None:
    """Bring schedulers, and the values that they schedule, to where a training goes on.

    Where their plans are those of the checkpoint, they take its state. Another plan, such as that of a longer training,
    is gone through from its start, so learning rates are those of an uninterrupted training with it.

    Args:
        schedulers: New schedulers.
        stored: States of the schedulers in the checkpoint.
        groups: Parameter groups, as loaded from the checkpoint; changed in place.
        epochs: Epochs that are done.
        epoch_length: Iterations per epoch.
        batches: Iterations of the next epoch that are done.

    Returns:
        What differs, with both values; None if the values there are those of the checkpoint.

    Raises:
        RuntimeError: If the plans differ, but more than the schedulers has changed the values, or they depend on
            evaluations.
    """
    plans = [_plan(scheduler.state_dict()) for scheduler in schedulers]
    old_plans = [_plan(state) for state in stored]
    if plans == old_plans:
        for scheduler, state in zip(schedulers, stored, strict=True):
            scheduler.load_state_dict(state)
        return None
    changes = f'{_brief(old_plans, plans)} in the checkpoint, {_brief(plans, old_plans)} in the config'
    names = sorted({plan['param_name'] for plan in (*old_plans, *plans)})
    kept = [{name: group[name] for name in names} for group in groups]
    replayable = not any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers)
    if replayable and [set(plan) for plan in plans] == [set(plan) for plan in old_plans]:
        _replay(schedulers, old_plans, groups, names, epochs, epoch_length, batches)
        replayable = kept == [{name: group[name] for name in names} for group in groups]
    if not replayable:
        raise RuntimeError(
            f'param_scheduler or train_cfg.max_epochs is not that of the checkpoint ({changes}), and cannot be '
            f'changed: the {" and ".join(names)} of this training followed evaluations or a hook too'
        )
    _replay(schedulers, plans, groups, names, epochs, epoch_length, batches)
    values = [
        f'{name} {old[name]:.6g} in the checkpoint, {group[name]:.6g} is used'
        for group, old in zip(groups, kept, strict=True)
        for name in names
        if group[name] != old[name]
    ]
    return f'{values[0]} after epoch {epochs}: {changes}' if values else None


def _replay(
    schedulers: Sequence[_ParamScheduler],
    plans: Sequence[Mapping[str, Any]],
    groups: Sequence[dict[str, Any]],
    names: Sequence[str],
    epochs: int,
    epoch_length: int,
    batches: int,
) -> None:
    """Go through the epochs from the initial values on, as ParamSchedulerHook does."""
    for group in groups:
        for name in names:
            group[name] = group.setdefault(f'initial_{name}', group[name])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # that the optimizer takes no step
        for scheduler, plan in zip(schedulers, plans, strict=True):
            initial = [group[f'initial_{scheduler.param_name}'] for group in groups]
            scheduler.load_state_dict({**plan, 'base_values': initial, 'last_step': -1, '_global_step': -1})
            scheduler.step()
        by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
        by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
        for _ in range(epochs):
            _steps(by_iteration, epoch_length)
            _steps(by_epoch, 1)
        _steps(by_iteration, batches)


def _steps(schedulers: Sequence[_ParamScheduler], count: int) -> None:
    for _ in range(count if schedulers else 0):
        for scheduler in schedulers:
            scheduler.step()


def _plan(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _PROGRESS}


def _brief(plans: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> str:
    """Describe what plans have that others do not."""
    if len(plans) != len(others):
        return f'{len(plans)} schedulers'
    parts = (
        f'{name}={value}'
        for plan, other in zip(plans, others, strict=True)
        for name, value in plan.items()
        if name not in other or other[name] != value
    )
    return ' '.join(dict.fromkeys(parts))
