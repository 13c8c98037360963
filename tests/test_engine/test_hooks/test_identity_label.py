"""Identities as labels: their numbers, who gets them, and what is refused before training."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glc.datasets.samplers import PseudoIdentitySampler
from glc.engine import IdentityLabelHook

PIDS = np.array([7, 3, 3, 90, 7, 90])


class Model:
    """Takes identities of three classes."""

    def __init__(self) -> None:
        self.head = SimpleNamespace(num_classes=3)

    def assign_identities(self, identities: torch.Tensor) -> None:
        self.identities = identities


def runner_of(pids=PIDS, model=None, batch_size=4, sampler=None) -> SimpleNamespace:
    dataset = SimpleNamespace(pids=pids, cam_ids=np.zeros(len(pids), int))
    sampler = sampler or PseudoIdentitySampler(dataset, num_ids=2, num_instances=2, iterations=6)
    loader = SimpleNamespace(sampler=sampler, batch_size=batch_size, dataset=dataset)
    return SimpleNamespace(train_dataloader=loader, model=model or Model())


def test_identities_are_numbered_in_the_order_of_their_pids():
    runner = runner_of()
    IdentityLabelHook().before_train(runner)
    labels = [1, 0, 0, 2, 1, 2]
    assert runner.model.identities.tolist() == labels
    assert runner.model.identities.dtype == torch.int64
    groups = np.array([draw.index for draw in runner.train_dataloader.sampler]).reshape(-1, 2)
    drawn = np.array(labels)[groups]
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert set(drawn.ravel()) == {0, 1, 2}


@pytest.mark.parametrize(
    ('setting', 'error', 'message'),
    [
        ({'pids': PIDS[:3]}, ValueError, r'2 identities, the head 3 classes: set model.head.num_classes=2'),
        ({'batch_size': 8}, ValueError, 'set batch_size to num_ids x num_instances'),
        ({'sampler': SimpleNamespace()}, TypeError, 'use PseudoIdentitySampler'),
        ({'model': SimpleNamespace()}, TypeError, 'SimpleNamespace takes no identities: use SupervisedReID'),
        (
            {'pids': np.array([7, 3, -1, 90, 0, -1])},
            ValueError,
            '2 of 6 training images have no known identity',
        ),
    ],
)
def test_wrong_parts_are_named(setting, error, message):
    runner = runner_of(**setting)
    with pytest.raises(error, match=message):
        IdentityLabelHook().before_train(runner)
    assert not hasattr(runner.model, 'identities')


def test_a_pid_of_zero_is_an_identity():
    runner = runner_of(np.array([0, 4, 4, 0, 9, 9]))
    IdentityLabelHook().before_train(runner)
    assert runner.model.identities.tolist() == [0, 1, 1, 0, 2, 2]
