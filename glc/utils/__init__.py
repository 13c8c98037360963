"""Helpers that belong to no single ring of the package."""

from .checkpoint import LoadReport, load_backbone_checkpoint, load_checkpoint_file

__all__ = ['LoadReport', 'load_backbone_checkpoint', 'load_checkpoint_file']
