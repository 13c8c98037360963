"""Heads: from features and labels to losses."""

from .contrast_head import ContrastHead

__all__ = ['ContrastHead']
