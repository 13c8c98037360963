"""Randomness of an epoch: from the seed, the epoch and the rank, and from nothing else."""

import itertools
from types import SimpleNamespace

import torch

from glc.engine import EpochSeedHook
from glc.engine.hooks import epoch_seed_hook


def drawn(monkeypatch, seed: int, epoch: int, rank: int) -> tuple[float, ...]:
    monkeypatch.setattr(epoch_seed_hook, 'get_rank', lambda: rank)
    EpochSeedHook().before_train_epoch(SimpleNamespace(seed=seed, epoch=epoch))
    return tuple(torch.rand(4).tolist())


def test_every_seed_epoch_and_rank_has_its_own_stream(monkeypatch):
    settings = list(itertools.product(range(3), repeat=3))
    with torch.random.fork_rng():
        first = [drawn(monkeypatch, *setting) for setting in settings]
        again = [drawn(monkeypatch, *setting) for setting in reversed(settings)]  # whatever ran before
    assert first == again[::-1]
    assert len(set(first)) == len(settings)
