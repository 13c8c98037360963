"""Randomness that depends on the epoch, not on what ran before it."""

import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner
from numpy.random import SeedSequence

from glc.registry import HOOKS


@HOOKS.register_module()
class EpochSeedHook(Hook):
    """Hook that seeds torch at the start of every training epoch from the run's seed, the epoch and the rank.

    A resumed run then drops the same paths as an uninterrupted one. Augmentation has its own seeds, see
    :class:`~glc.datasets.samplers.PseudoIdentitySampler`.
    """

    priority = 'VERY_HIGH'

    def before_train_epoch(self, runner: Runner) -> None:
        """Seed the default generators of all devices."""
        state = SeedSequence((runner.seed, runner.epoch, get_rank())).generate_state(1)
        torch.manual_seed(int(state[0]))
