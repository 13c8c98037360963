"""Samplers of training images."""

from .pseudo_identity_sampler import PseudoIdentitySampler
from .shuffled_sampler import ShuffledSampler

__all__ = ['PseudoIdentitySampler', 'ShuffledSampler']
