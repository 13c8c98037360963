"""Unsupervised person re-identification with graph-based pseudo label correction.

The names below work in anybody's own loop, without mmengine or a config; they are imported on first use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glc.core.correctors.glc import GLC
    from glc.core.correctors.metric_consensus import MetricConsensus
    from glc.core.evaluation.ranking import evaluate_ranking
    from glc.core.labelers.adaptive import AdaptiveConsensus
    from glc.core.labelers.jaccard import JaccardDBSCAN, JaccardMapEquation, MultiScaleConsensus
    from glc.core.labels import PseudoLabels
    from glc.core.memories.camera import CameraMemory
    from glc.core.memories.cluster import ClusterMemory
    from glc.core.memories.hybrid import HybridMemory
    from glc.core.neighbors.view import FeatureView

from glc import _moved
from glc._lazy import lazy_exports

__version__ = '0.1.0'

# The names above, imported at run time on first use; tests/test_exports.py compares them.
_EXPORTS = {
    'AdaptiveConsensus': 'glc.core.labelers.adaptive',
    'GLC': 'glc.core.correctors.glc',
    'JaccardDBSCAN': 'glc.core.labelers.jaccard',
    'JaccardMapEquation': 'glc.core.labelers.jaccard',
    'MetricConsensus': 'glc.core.correctors.metric_consensus',
    'MultiScaleConsensus': 'glc.core.labelers.jaccard',
    'CameraMemory': 'glc.core.memories.camera',
    'ClusterMemory': 'glc.core.memories.cluster',
    'HybridMemory': 'glc.core.memories.hybrid',
    'FeatureView': 'glc.core.neighbors.view',
    'PseudoLabels': 'glc.core.labels',
    'evaluate_ranking': 'glc.core.evaluation.ranking',
}

__all__ = [
    'GLC',
    'AdaptiveConsensus',
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


__getattr__ = lazy_exports(__name__, _EXPORTS)


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})
