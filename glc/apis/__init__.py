"""What the entry points share, for use from a script or a notebook. The names are imported on first use."""

from typing import TYPE_CHECKING

from glc._lazy import lazy_exports

if TYPE_CHECKING:
    from glc.apis.build import (
        build_for_test,
        build_runner,
        load_config,
        load_for_test,
        prepare_config,
        share_batch,
    )
    from glc.apis.config_checks import ConfigError, check_config
    from glc.apis.config_names import find_config
    from glc.apis.extract import training_features
    from glc.apis.options import ConfigOptions

# The names above, imported at run time on first use; tests/test_exports.py compares them.
_EXPORTS = {
    'ConfigError': 'glc.apis.config_checks',
    'ConfigOptions': 'glc.apis.options',
    'build_for_test': 'glc.apis.build',
    'build_runner': 'glc.apis.build',
    'check_config': 'glc.apis.config_checks',
    'find_config': 'glc.apis.config_names',
    'load_config': 'glc.apis.build',
    'load_for_test': 'glc.apis.build',
    'prepare_config': 'glc.apis.build',
    'share_batch': 'glc.apis.build',
    'training_features': 'glc.apis.extract',
}

__all__ = [
    'ConfigError',
    'ConfigOptions',
    'build_for_test',
    'build_runner',
    'check_config',
    'find_config',
    'load_config',
    'load_for_test',
    'prepare_config',
    'share_batch',
    'training_features',
]

__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
