"""Samplers over pseudo identities."""

from .pseudo_identity_sampler import PseudoIdentitySampler

__all__ = ['PseudoIdentitySampler']
