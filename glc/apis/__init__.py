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
    from glc.apis.clustering import ImageClusters, cluster_images, write_clusters_folder
    from glc.apis.config_checks import ConfigError, check_config
    from glc.apis.config_names import find_config
    from glc.apis.extract import training_features
    from glc.apis.features import ReIDFeatures, SearchResult
    from glc.apis.gallery import Gallery
    from glc.apis.images import NamedImage, list_images, video_crops
    from glc.apis.inferencer import ReIDInferencer
    from glc.apis.options import ConfigOptions

# The names above, imported at run time on first use; tests/test_exports.py compares them.
_EXPORTS = {
    'ConfigError': 'glc.apis.config_checks',
    'ConfigOptions': 'glc.apis.options',
    'Gallery': 'glc.apis.gallery',
    'ImageClusters': 'glc.apis.clustering',
    'NamedImage': 'glc.apis.images',
    'ReIDFeatures': 'glc.apis.features',
    'ReIDInferencer': 'glc.apis.inferencer',
    'SearchResult': 'glc.apis.features',
    'build_for_test': 'glc.apis.build',
    'build_runner': 'glc.apis.build',
    'check_config': 'glc.apis.config_checks',
    'cluster_images': 'glc.apis.clustering',
    'find_config': 'glc.apis.config_names',
    'list_images': 'glc.apis.images',
    'load_config': 'glc.apis.build',
    'load_for_test': 'glc.apis.build',
    'prepare_config': 'glc.apis.build',
    'share_batch': 'glc.apis.build',
    'training_features': 'glc.apis.extract',
    'video_crops': 'glc.apis.images',
    'write_clusters_folder': 'glc.apis.clustering',
}

__all__ = [
    'ConfigError',
    'ConfigOptions',
    'Gallery',
    'ImageClusters',
    'NamedImage',
    'ReIDFeatures',
    'ReIDInferencer',
    'SearchResult',
    'build_for_test',
    'build_runner',
    'check_config',
    'cluster_images',
    'find_config',
    'list_images',
    'load_config',
    'load_for_test',
    'prepare_config',
    'share_batch',
    'training_features',
    'video_crops',
    'write_clusters_folder',
]

__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
