"""Schedules of resumed trainings are those of uninterrupted ones."""

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS
from torch.optim import SGD

from glc.engine.schedule import resume_schedulers

LENGTH = 3  # iterations per epoch


class Training:
    """The learning rates of a training, without the training."""

    def __init__(self, configs, epochs, lr=0.1):
        weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        self.optimizer = SGD([{'params': weights[:1]}, {'params': weights[1:], 'lr': lr / 10}], lr=lr)
        self.epochs = epochs
        self.schedulers = [
            PARAM_SCHEDULERS.build(
                {'end': epochs if config.get('by_epoch', True) else epochs * LENGTH, **config},
                default_args={'optimizer': self.optimizer, 'epoch_length': LENGTH},
            )
            for config in configs
        ]

    @property
    def groups(self):
        return self.optimizer.param_groups

    def rates(self, start, end):
        """Rates of the iterations of these epochs."""
        found = []
        for _ in range(start, end):
            for _ in range(LENGTH):
                found.append([group['lr'] for group in self.groups])
                self.optimizer.step()
                self.step(by_epoch=False)
            self.step(by_epoch=True)
        return found

    def step(self, by_epoch):
        for scheduler in self.schedulers:
            if scheduler.by_epoch == by_epoch:
                scheduler.step()

    def checkpoint(self):
        return self.optimizer.state_dict(), [scheduler.state_dict() for scheduler in self.schedulers]

    def resume(self, checkpoint, done):
        optimizer, schedulers = checkpoint
        self.optimizer.load_state_dict(optimizer)
        return resume_schedulers(self.schedulers, schedulers, self.groups, done, LENGTH)


WARMUP = {'type': 'LinearLR', 'start_factor': 0.1, 'begin': 0, 'end': 2}
SCHEDULES = {
    'steps': [{'type': 'StepLR', 'step_size': 2, 'gamma': 0.5}],
    'milestones': [{'type': 'MultiStepLR', 'milestones': [1, 4, 5]}],
    'exponential': [{'type': 'ExponentialLR', 'gamma': 0.9}],
    'cosine': [{'type': 'CosineAnnealingLR', 'eta_min': 1e-4}],
    'linear': [{'type': 'LinearLR', 'start_factor': 1.0, 'end_factor': 0.1}],
    'poly': [{'type': 'PolyLR', 'power': 0.9}],
    'warmup': [WARMUP, {'type': 'CosineAnnealingLR', 'begin': 2}],
    'iterations': [
        {**WARMUP, 'convert_to_iter_based': True},
        {'type': 'CosineAnnealingLR', 'begin': 2, 'convert_to_iter_based': True},
    ],
    'mixed': [{**WARMUP, 'by_epoch': False, 'end': 4}, {'type': 'StepLR', 'step_size': 2}],
}


@pytest.mark.parametrize('name', SCHEDULES)
@pytest.mark.parametrize(('stop', 'old', 'new'), [(4, 4, 8), (3, 4, 8), (3, 8, 5), (3, 6, 6)])
def test_rates_are_those_of_an_uninterrupted_training(name, stop, old, new):
    whole = Training(SCHEDULES[name], new)
    earlier, rest = whole.rates(0, stop), whole.rates(stop, new)
    first = Training(SCHEDULES[name], old)
    same = first.rates(0, stop) == earlier and first.groups[0]['lr'] == rest[0][0]
    second = Training(SCHEDULES[name], new)
    warning = second.resume(first.checkpoint(), stop)
    assert second.rates(stop, new) == rest
    assert (warning is None) == same
    if warning:
        assert f'lr {first.groups[0]["lr"]:.6g} in the checkpoint, {rest[0][0]:.6g} is used' in warning


def test_another_schedule_starts_from_the_rate_of_the_checkpoint():
    first = Training([{'type': 'StepLR', 'step_size': 2}], 6)
    first.rates(0, 3)
    second = Training([WARMUP, {'type': 'StepLR', 'step_size': 1, 'gamma': 0.3, 'begin': 2}], 6, lr=7.0)
    warning = second.resume(first.checkpoint(), 3)
    assert '1 schedulers in the checkpoint, 2 schedulers in the config' in warning
    whole = Training([WARMUP, {'type': 'StepLR', 'step_size': 1, 'gamma': 0.3, 'begin': 2}], 6)
    whole.rates(0, 3)
    assert second.rates(3, 6) == whole.rates(3, 6)


def test_a_schedule_may_begin_or_end_with_a_resume():
    with_steps, without = [{'type': 'StepLR', 'step_size': 1}], []
    for old, new, rate in ((with_steps, without, 0.1), (without, with_steps, 0.1 * 0.1 * 0.1)):
        first = Training(old, 4)
        first.rates(0, 2)
        second = Training(new, 4, lr=7.0)
        assert f'{rate:.6g} is used' in second.resume(first.checkpoint(), 2)
        assert second.groups[0]['lr'] == rate


def test_rates_that_something_else_has_changed_are_not_guessed():
    first = Training([{'type': 'StepLR', 'step_size': 2}], 4)
    first.rates(0, 2)
    first.groups[0]['lr'] = 0.7  # as RestartHook does
    checkpoint = first.checkpoint()
    with pytest.raises(RuntimeError, match=r'\(end=4 in the checkpoint, end=8 in the config\).*followed'):
        Training([{'type': 'StepLR', 'step_size': 2}], 8).resume(checkpoint, 2)
    second = Training([{'type': 'StepLR', 'step_size': 2}], 4)
    assert second.resume(checkpoint, 2) is None
    assert second.groups[0]['lr'] == 0.7


def test_rates_that_follow_evaluations_are_not_guessed():
    plateau = [{'type': 'ReduceOnPlateauLR', 'monitor': 'mAP', 'rule': 'greater'}]
    first = Training(plateau, 4)
    second = Training(plateau, 8)
    with pytest.raises(RuntimeError, match='followed evaluations'):
        second.resume(first.checkpoint(), 0)
