"""Self-paced reliability: which clusters, and which of their images, hold when the clustering is looser or tighter.

Source: Ge et al., Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID, NeurIPS 2020.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from glc.core.labelers.base import BaseLabeler
from glc.core.labelers.jaccard import JaccardLabeler
from glc.core.labels import compact_labels, with_singletons
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import INSIDE_UNIT, POSITIVE_SHARE, Rules


class SelfPacedReliability(BaseLabeler):
    """Turns into outliers what another labeler clusters differently at a slightly looser or tighter cut.

    A cluster is independent if it stays what it is when the cut is looser by ``gap``, and compact if it does when the
    cut is tighter; both are measured by :func:`cluster_overlap`. Of the clusters that are independent enough only the
    most compact images stay, see :func:`reliable_labels`. The least independence is set by the first call, such that
    the share ``keep`` of the clusters stays, and holds from then on: the better the features, the more clusters pass.

    Args:
        labeler: Labeler whose clusterer has a cut (:meth:`glc.core.clusterers.Clusterer.with_cut`). Distances are
            computed once.
        gap: Difference of the cuts.
        keep: Share of the clusters that the first call keeps, in ``(0, 1]``.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        threshold_: Least independence of a cluster; None before the first call that finds clusters.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.

    Example:
        >>> from glc import JaccardDBSCAN
        >>> rng = np.random.default_rng(0)
        >>> features = np.repeat(np.eye(3, 16), 10, axis=0) + 0.05 * rng.normal(size=(30, 16))
        >>> labeler = SelfPacedReliability(JaccardDBSCAN(k1=8, k2=3))
        >>> int(labeler(features).max())
        2
    """

    _parameter_constraints: ClassVar[Rules] = {
        'labeler': [JaccardLabeler],
        'gap': INSIDE_UNIT,
        'keep': POSITIVE_SHARE,
    }

    def __init__(self, labeler: JaccardLabeler, gap: float = 0.02, keep: float = 0.9) -> None:
        self.labeler = labeler
        self.gap = gap
        self.keep = keep
        self.threshold_: float | None = None

    def state_dict(self) -> dict[str, float]:
        """The threshold, once there is one."""
        return {} if self.threshold_ is None else {'threshold': self.threshold_}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take the threshold of a run that is being resumed, or none."""
        self.threshold_ = state.get('threshold')

    def check(self) -> None:
        """Check the parameters, those of the labeler included.

        Raises:
            ValueError: One is out of range, or the labeler is no Jaccard labeler.
            TypeError: The labeler's clusterer has no cut.
        """
        super().check()
        self.labeler.check()
        if not self.labeler.clusterer().has_cut:
            raise TypeError(
                f'{type(self.labeler).__name__} has no cut to loosen and tighten: SelfPacedReliability takes a Jaccard '
                'labeler with eps, cut or distance_threshold'
            )

    @property
    def backend(self) -> str:  # type: ignore[override]
        """That of the labeler."""
        return self.labeler.backend

    @property
    def expected_k(self) -> int:
        """That of the labeler."""
        return self.labeler.expected_k

    def advice(self, num_clusters: int) -> str:
        """Say what the labeler says."""
        return self.labeler.advice(num_clusters)

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        distance = self.labeler.distance(view, self.gap)
        self.timings_ = self.labeler.timings_
        clusterer = self.labeler.clusterer()
        with self.timings_.stage('cluster'):
            labels = clusterer(distance)
            tighter, looser = (clusterer.with_cut(gap)(distance) for gap in (-self.gap, self.gap))
        independence, compactness = (cluster_overlap(labels, other) for other in (looser, tighter))
        if self.threshold_ is None and labels.max() >= 0:
            self.threshold_ = independence_threshold(labels, independence, self.keep)
        return reliable_labels(labels, independence, compactness, self.threshold_ or 0.0)


def cluster_overlap(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How much of an image's cluster two clusterings have in common: intersection over union of its images.

    Args:
        labels: Integer labels (N,); negative = outlier, a cluster of its own.
        other: Labels (N,) of the other clustering.

    Returns:
        float64 (N,) in (0, 1]; 1 where the image has the same companions in both.

    Example:
        >>> cluster_overlap(np.array([0, 0, 1, -1]), np.array([0, 0, 0, -1]))
        array([0.66666667, 0.66666667, 0.33333333, 1.        ])
    """
    first, second = (with_singletons(part) for part in (labels, other))
    _, pair, shared = np.unique(first * (second.max() + 1) + second, return_inverse=True, return_counts=True)
    common = shared[pair]
    return common / (np.bincount(first)[first] + np.bincount(second)[second] - common)


def independence_threshold(labels: np.ndarray, independence: np.ndarray, keep: float) -> float:
    """The least independence of the most independent clusters.

    Args:
        labels: Labels (N,): -1 = outlier, others 0..C-1 without gaps, C >= 1.
        independence: Overlap (N,) with a looser clustering.
        keep: Share of the clusters, rounded to a whole number, at least one.

    Returns:
        Independence of the last of them.
    """
    falling = np.sort(_best_of_cluster(labels, independence))[::-1]
    return float(falling[max(round(keep * len(falling)), 1) - 1])


def reliable_labels(
    labels: np.ndarray, independence: np.ndarray, compactness: np.ndarray, threshold: float
) -> np.ndarray:
    """Keep the most compact images of the independent clusters.

    The independence of a cluster is the largest of its images. Images stay whose compactness is the largest of their
    cluster: those in the largest part into which a tighter clustering splits it.

    Args:
        labels: Labels (N,): -1 = outlier, others 0..C-1 without gaps.
        independence: Overlap (N,) with a looser clustering.
        compactness: Overlap (N,) with a tighter clustering.
        threshold: Least independence of a cluster that stays.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps; clusters of one image are outliers.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1])
        >>> reliable_labels(labels, np.array([1, 1, 1, 0.4, 0.4]), np.array([0.7, 0.7, 0.3, 1, 1]), 0.5)
        array([ 0,  0, -1, -1, -1])
    """
    clustered = labels >= 0
    own = labels[clustered]
    kept = labels.copy()
    kept[clustered] = np.where(
        (_best_of_cluster(labels, independence)[own] >= threshold)
        & (compactness[clustered] == _best_of_cluster(labels, compactness)[own]),
        own,
        -1,
    )
    return compact_labels(kept, min_size=2)


def _best_of_cluster(labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Largest value of the images of each cluster (C,)."""
    best = np.zeros(labels.max() + 1)
    clustered = labels >= 0
    np.maximum.at(best, labels[clustered], values[clustered])
    return best
