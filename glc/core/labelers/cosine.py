"""Communities of the plain graph of nearest neighbors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from glc.core.clusterers import map_equation_communities
from glc.core.labelers.base import BaseLabeler
from glc.core.neighbors.knn import neighbor_matrix
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import AT_LEAST_ONE, MIN_CLUSTER_SIZE, SEARCH, SEED, SHARE, Rules


class CosineMapEquation(BaseLabeler):
    """Map equation on the graph of nearest neighbors, without Jaccard distance: the InfoMap option of Cluster Contrast.

    An image is joined to each of its k nearest that is similar enough, with the weight of their cosine similarity; two
    images that are near to each other are joined twice. The published program follows the directions of these links,
    which :func:`glc.core.clusterers.map_equation_communities` does not.

    Args:
        k: Neighbors of an image, itself included (the published ``k1``).
        min_similarity: Smallest cosine similarity of a link (the published ``eps``).
        min_cluster_size: Clusters of fewer images become outliers (the published ``k2`` plus 1).
        backend: See :mod:`glc.core.parameters`; a view has its own.
        seed: Seed of the order in which images move.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn' and 'cluster'.

    Example:
        >>> features = np.repeat(np.eye(2, 8), 6, axis=0) + 0.05 * np.random.default_rng(0).normal(size=(12, 8))
        >>> CosineMapEquation(k=6)(features)
        array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
    """

    _parameter_constraints: ClassVar[Rules] = {
        'k': AT_LEAST_ONE,
        'min_similarity': SHARE,
        **MIN_CLUSTER_SIZE,
        **SEARCH,
        **SEED,
    }

    def __init__(
        self,
        k: int = 15,
        min_similarity: float = 0.5,
        min_cluster_size: int = 5,
        backend: str = 'auto',
        seed: int = 0,
    ) -> None:
        self.k = k
        self.min_similarity = min_similarity
        self.min_cluster_size = min_cluster_size
        self.backend = backend
        self.seed = seed

    @property
    def expected_k(self) -> int:
        """The neighbors."""
        return self.k

    def seen(self, view: FeatureView[Any]) -> FeatureView[Any]:
        """Return the view without cameras."""
        return view.without_cameras()

    def advice(self, num_clusters: int) -> str:
        """Name ``min_similarity`` and ``min_cluster_size``."""
        return 'lower min_similarity or min_cluster_size' if num_clusters == 0 else 'raise min_similarity'

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        with self.timings_.stage('knn'):
            neighbors, similarities = self.seen(view).neighbors(self.k).numpy()
        with self.timings_.stage('cluster'):
            links = neighbor_matrix(neighbors, np.where(similarities < self.min_similarity, 0, similarities))
            links.setdiag(0)
            links.eliminate_zeros()
            return map_equation_communities((links + links.T).tocsr(), self.min_cluster_size, self.seed)
