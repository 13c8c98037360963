"""What the entry points share, for use from a script or a notebook."""

from .build import build_for_test, build_runner, load_config, load_for_test, prepare_config, share_batch
from .config_checks import ConfigError, check_config
from .extract import training_features
from .options import ConfigOptions

__all__ = [
    'ConfigError',
    'ConfigOptions',
    'build_for_test',
    'build_runner',
    'check_config',
    'load_config',
    'load_for_test',
    'prepare_config',
    'share_batch',
    'training_features',
]
