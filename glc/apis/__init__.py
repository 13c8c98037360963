"""What the entry points share, for use from a script or a notebook."""

from .build import build_runner, load_for_test, prepare_config, share_batch
from .extract import training_features

__all__ = ['build_runner', 'load_for_test', 'prepare_config', 'share_batch', 'training_features']
