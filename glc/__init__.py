"""Unsupervised person re-identification with graph-based pseudo label correction.

The names below work in anybody's own loop, without mmengine or a config; they are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glc.core.camera_memory import CameraMemory
    from glc.core.clustering import JaccardDBSCAN, JaccardMapEquation, MultiScaleConsensus
    from glc.core.correction import GLC
    from glc.core.hybrid_memory import HybridMemory
    from glc.core.labels import PseudoLabels
    from glc.core.memory import ClusterMemory
    from glc.core.metric import MetricConsensus
    from glc.core.ranking import evaluate_ranking

__version__ = '0.1.0'

# The names above, imported at run time on first use; tests/test_exports.py compares them.
_EXPORTS = {
    'GLC': 'glc.core.correction',
    'JaccardDBSCAN': 'glc.core.clustering',
    'JaccardMapEquation': 'glc.core.clustering',
    'MetricConsensus': 'glc.core.metric',
    'MultiScaleConsensus': 'glc.core.clustering',
    'CameraMemory': 'glc.core.camera_memory',
    'ClusterMemory': 'glc.core.memory',
    'HybridMemory': 'glc.core.hybrid_memory',
    'PseudoLabels': 'glc.core.labels',
    'evaluate_ranking': 'glc.core.ranking',
}

__all__ = [
    'GLC',
    'CameraMemory',
    'ClusterMemory',
    'HybridMemory',
    'JaccardDBSCAN',
    'JaccardMapEquation',
    'MetricConsensus',
    'MultiScaleConsensus',
    'PseudoLabels',
    '__version__',
    'evaluate_ranking',
]


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_EXPORTS[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
