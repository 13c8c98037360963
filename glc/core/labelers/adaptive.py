"""A labeler that takes the size of its neighborhoods from the data."""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np

from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.labelers.base import BaseLabeler
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import CAMERAS, SEARCH, SEED, Interval, Rules

_K1_PER_IMAGE = np.array([0.7, 1.2, 1.8, 2.6])
_K2_PER_K1 = 0.25
_SMALLEST = 4.0
_GROWTH = 1.04
_MAX_ROUNDS = 12


class AdaptiveConsensus(BaseLabeler):
    """Multi-scale Jaccard communities whose neighborhoods follow the number of images per person.

    Neighborhoods that fit the images per person matter more than any cut. The labeler starts with small ones, clusters,
    takes the typical size of the clusters as the images per person, and clusters again, until that size no longer
    grows. It assumes nothing about the data set: not how many images a person has, how good the features are, or how
    many images belong to nobody else.

    - Scales: k1 = 0.7, 1.2, 1.8 and 2.6 times the images per person, k2 = k1 / 4; the mean of the Jaccard distances,
      by plain and by camera-balanced neighbors.
    - Typical size: geometric mean over the images of the size of their cluster, outliers left out.
    - Clusters: :class:`glc.core.clusterers.RelativeMapEquationClusterer`, of two images and more.

    Args:
        max_size: Largest number of images per person that the neighborhoods follow; the neighbors searched, and the
            memory, grow with it.
        backend: See :mod:`glc.core.parameters`; a view has its own.
        use_cameras: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move between communities.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        sizes_: Images per person of every round of the last call; the last one made the labels.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(12), 15)
        >>> features = rng.normal(size=(12, 16))[identity] + 0.2 * rng.normal(size=(180, 16))
        >>> labels = AdaptiveConsensus()(features)
        >>> bool((labels == identity).all())
        True
    """

    _parameter_constraints: ClassVar[Rules] = {
        'max_size': [Interval(Real, 4, None, closed='left')],
        **SEARCH,
        **CAMERAS,
        **SEED,
    }
    sizes_: list[float]

    def __init__(
        self, max_size: float = 100, backend: str = 'auto', use_cameras: bool = True, seed: int = 0
    ) -> None:
        self.max_size = max_size
        self.backend = backend
        self.use_cameras = use_cameras
        self.seed = seed

    @property
    def expected_k(self) -> int:
        """Neighbors that serve up to 30 images per person; more are searched where they are needed."""
        return int(30 * _K1_PER_IMAGE[-1])

    def advice(self, num_clusters: int) -> str:
        """Say what a labeler without a cut can say."""
        return 'are the features those of a trained network? ' if num_clusters == 0 else ''

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        view = view if self.use_cameras else view.without_cameras()
        self.sizes_ = []
        size = _SMALLEST
        while True:
            self.sizes_.append(size)
            labels = self._label_at(view, size)
            grown = min(typical_size(labels), self.max_size)
            if grown < _GROWTH * size or len(self.sizes_) == _MAX_ROUNDS:
                return labels
            size = grown

    def _label_at(self, view: FeatureView[Any], size: float) -> np.ndarray:
        """Label with neighborhoods for so many images per person."""
        k1, k2 = scales_for(size)
        clusterer = RelativeMapEquationClusterer(seed=self.seed)
        with self.timings_.stage('knn'):
            view.graphs(k1[-1])
        with self.timings_.stage('jaccard'):
            distance = view.distance(k1, k2, clusterer.reach)
        with self.timings_.stage('cluster'):
            return clusterer(distance)


def scales_for(size: float) -> tuple[list[int], list[int]]:
    """Return k1 and k2 of every scale for so many images per person.

    Example:
        >>> scales_for(4)
        ([3, 5, 7, 10], [1, 1, 2, 3])
    """
    k1 = np.maximum(np.rint(_K1_PER_IMAGE * size), 3)
    k2 = np.clip(np.rint(_K2_PER_K1 * _K1_PER_IMAGE * size), 1, k1)
    return k1.astype(int).tolist(), k2.astype(int).tolist()


def typical_size(labels: np.ndarray) -> float:
    """Return the geometric mean, over the images in clusters, of the size of their cluster; 1 without clusters.

    Example:
        >>> round(typical_size(np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, -1])), 2)
        6.06
    """
    sizes = np.bincount(labels[labels >= 0])
    sizes = sizes[sizes > 1]
    return float(np.exp(np.average(np.log(sizes), weights=sizes))) if len(sizes) else 1.0
