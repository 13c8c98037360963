"""Necks: backbone output to image features."""

from .reid_neck import ReIDNeck

__all__ = ['ReIDNeck']
