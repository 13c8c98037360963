"""The sampler of source training against the rules of the published one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.datasets.samplers import RandomIdentitySampler, random_identity_sampler


def make(pids, rank=0, world_size=1, **kwargs) -> RandomIdentitySampler:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_identity_sampler, 'get_dist_info', lambda: (rank, world_size))
        return RandomIdentitySampler(
            SimpleNamespace(pids=np.asarray(pids)), **{'num_ids': 4, 'num_instances': 3, 'seed': 1, **kwargs}
        )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(4, 15))
def test_every_image_about_once(seed, num_ids):
    rng = np.random.default_rng(seed)
    pids = rng.permutation(np.append(np.repeat(np.arange(num_ids) * 7, rng.integers(1, 12, num_ids)), -1))
    sampler = make(pids, seed=seed)
    draws = np.array([draw.index for draw in sampler]).reshape(-1, 4, 3)
    assert draws.size == len(sampler)
    drawn = pids[draws]
    assert (drawn == drawn[:, :, :1]).all(), 'K images of one identity stand together'
    assert all(len(set(batch[:, 0])) == 4 for batch in drawn), 'no identity twice in a batch'
    shown = np.bincount(draws.ravel(), minlength=len(pids))
    sizes = {pid: (pids == pid).sum() for pid in pids}
    assert shown[pids < 0].sum() == 0
    groups = {pid: max(1, size // 3) for pid, size in sizes.items() if pid >= 0}
    for pid in groups:
        if sizes[pid] >= 3:
            assert shown[pids == pid].max() <= 1
        groups[pid] -= (drawn[:, :, 0] == pid).sum()
    assert min(groups.values()) >= 0
    assert sum(left > 0 for left in groups.values()) < 4, (
        'goes on as long as there are identities for a batch'
    )


def test_epochs_differ_and_repeat():
    pids = np.repeat(np.arange(10), 6)
    sampler = make(pids)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert second != first
    assert len({draw.seed for draw in second}) == len(second)
    sampler.set_epoch(0)
    assert list(sampler) == first


def test_lengths_of_epochs_are_those_of_their_streams():
    sampler = make(np.repeat(np.arange(7), [3, 4, 9, 12, 5, 7, 21]))
    expected = [sampler.num_batches(epoch) for epoch in range(20)]
    assert len(set(expected)) > 1
    for epoch, count in enumerate(expected):
        sampler.set_epoch(epoch)
        assert len(list(sampler)) == len(sampler) == count * 12


def test_processes_share_whole_identities():
    pids = np.repeat(np.arange(10), 6)
    whole = np.array(list(make(pids))).reshape(-1, 4, 3, 2)
    parts = [np.array(list(make(pids, rank, 2))).reshape(-1, 2, 3, 2) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert make(pids, 0, 2).batch_size == 6


def test_labels_replace_the_identities():
    sampler = make(np.full(24, -1))
    with pytest.raises(ValueError, match='0 identities are fewer than num_ids=4'):
        len(sampler)
    sampler.assign_labels(torch.arange(24) // 6)
    assert len(sampler) == 24
    for wrong, message in ((torch.arange(5), 'got 5 for 24 images'), (torch.rand(24), 'array of integers')):
        with pytest.raises(ValueError, match=message):
            sampler.assign_labels(wrong)


@pytest.mark.parametrize(
    ('wrong', 'message'),
    [
        ({'num_ids': 0}, "'num_ids' parameter of RandomIdentitySampler"),
        ({'num_ids': 3, 'world_size': 2}, 'cannot be shared by 2'),
    ],
)
def test_impossible_numbers(wrong, message):
    with pytest.raises(ValueError, match=message):
        make(np.repeat(np.arange(10), 6), **wrong)
