"""Heads: from features and labels to losses."""

from .contrast_head import ContrastHead
from .projection_head import ProjectionHead
from .supervised_head import SupervisedHead

__all__ = ['ContrastHead', 'ProjectionHead', 'SupervisedHead']
