"""Samplers of training images."""

from .pseudo_identity_sampler import PseudoIdentitySampler
from .random_identity_sampler import RandomIdentitySampler
from .shuffled_sampler import ShuffledSampler

__all__ = ['PseudoIdentitySampler', 'RandomIdentitySampler', 'ShuffledSampler']
