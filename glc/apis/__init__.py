"""What the entry points share, for use from a script or a notebook."""

from .build import build_for_test, build_runner, load_config, load_for_test, prepare_config, share_batch
from .extract import training_features

__all__ = [
    'build_for_test',
    'build_runner',
    'load_config',
    'load_for_test',
    'prepare_config',
    'share_batch',
    'training_features',
]
