"""Unsupervised person re-identification with graph-based pseudo label correction.

The names below work in anybody's own loop, without mmengine or a config; they are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glc.core.correctors import GLC, MetricConsensus
    from glc.core.evaluation import evaluate_ranking
    from glc.core.labelers import JaccardDBSCAN, JaccardMapEquation, MultiScaleConsensus
    from glc.core.labels import PseudoLabels
    from glc.core.memories import CameraMemory, ClusterMemory, HybridMemory
    from glc.core.neighbors import FeatureView

from glc import _moved

__version__ = '0.1.0'

# The same names as above, for the import at run time; tests/test_exports.py compares them.
_EXPORTS = {
    'GLC': 'glc.core.correctors',
    'JaccardDBSCAN': 'glc.core.labelers',
    'JaccardMapEquation': 'glc.core.labelers',
    'MetricConsensus': 'glc.core.correctors',
    'MultiScaleConsensus': 'glc.core.labelers',
    'CameraMemory': 'glc.core.memories',
    'ClusterMemory': 'glc.core.memories',
    'HybridMemory': 'glc.core.memories',
    'FeatureView': 'glc.core.neighbors',
    'PseudoLabels': 'glc.core.labels',
    'evaluate_ranking': 'glc.core.evaluation',
}

__all__ = [
    'GLC',
    'CameraMemory',
    'ClusterMemory',
    'FeatureView',
    'HybridMemory',
    'JaccardDBSCAN',
    'JaccardMapEquation',
    'MetricConsensus',
    'MultiScaleConsensus',
    'PseudoLabels',
    '__version__',
    'evaluate_ranking',
]

_moved.install()


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
