"""Helpers that belong to no single ring of the package."""

from .checkpoint import (
    LoadReport,
    load_backbone_checkpoint,
    load_checkpoint_file,
    load_link_predictor,
    load_model_checkpoint,
)

__all__ = [
    'LoadReport',
    'load_backbone_checkpoint',
    'load_checkpoint_file',
    'load_link_predictor',
    'load_model_checkpoint',
]
