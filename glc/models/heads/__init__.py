"""Heads: from features and labels to losses."""

from .contrast_head import ContrastHead
from .supervised_head import SupervisedHead

__all__ = ['ContrastHead', 'SupervisedHead']
