"""Average linkage and connected components of sparse distances, by SciPy."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components

from glc.core.clusterers.base import Clusterer
from glc.core.labels import compact_labels
from glc.core.parameters import CUT, INSIDE_UNIT, MIN_CLUSTER_SIZE, Rules


class LinkageClusterer(Clusterer):
    """Average linkage: merges clusters while the mean distance between them is small.

    The result is that of the dense distances. Only images that are linked by distances up to ``distance_threshold``
    can merge, so each such group is clustered by itself: 16 bytes for each of its pairs, 1.3 GB for 13,000 images.

    Args:
        distance_threshold: Largest mean distance between the images of two clusters that merge, in (0, 1).
        min_cluster_size: See :mod:`glc.core.parameters`.

    Attributes:
        cut_: The distance threshold of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {'distance_threshold': INSIDE_UNIT, **MIN_CLUSTER_SIZE}
    reach = 1.0

    def __init__(self, distance_threshold: float = 0.6, min_cluster_size: int = 4) -> None:
        self.distance_threshold = distance_threshold
        self.min_cluster_size = min_cluster_size

    def with_cut(self, delta: float) -> LinkageClusterer:
        """Return the clusterer at the distance threshold plus ``delta``."""
        return LinkageClusterer(self.distance_threshold + delta, self.min_cluster_size)

    def advice(self, num_clusters: int) -> str:
        """Name ``distance_threshold`` and ``min_cluster_size``."""
        if num_clusters == 0:
            return 'raise distance_threshold or lower min_cluster_size'
        return 'lower distance_threshold'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.cut_ = self.distance_threshold
        links = distance.copy()
        links.data = distance.data <= self.distance_threshold
        links.eliminate_zeros()
        component = connected_components(links, directed=False)[1]
        labels = np.arange(len(component))
        groups = np.split(np.argsort(component, kind='stable'), np.bincount(component).cumsum()[:-1])
        for group in groups:
            if len(group) > 1:
                merges = linkage(_condensed(distance[group][:, group]), method='average')
                labels[group] = group[fcluster(merges, self.distance_threshold, criterion='distance') - 1]
        return compact_labels(labels, self.min_cluster_size)


class ComponentClusterer(Clusterer):
    """Connected components: any chain of distances up to the cut joins its images.

    Args:
        cut: See :mod:`glc.core.parameters`.
        min_cluster_size: See :mod:`glc.core.parameters`.

    Attributes:
        cut_: The cut of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {**CUT, **MIN_CLUSTER_SIZE}

    def __init__(self, cut: float = 0.5, min_cluster_size: int = 4) -> None:
        self.cut = cut
        self.min_cluster_size = min_cluster_size

    @property
    def reach(self) -> float:
        """The cut."""
        return self.cut

    def with_cut(self, delta: float) -> ComponentClusterer:
        """Return the clusterer at the cut plus ``delta``."""
        return ComponentClusterer(self.cut + delta, self.min_cluster_size)

    def advice(self, num_clusters: int) -> str:
        """Name ``cut`` and ``min_cluster_size``."""
        return 'raise cut or lower min_cluster_size' if num_clusters == 0 else 'lower cut'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.cut_ = self.cut
        components = connected_components(distance, directed=False)[1]
        return compact_labels(components.astype(np.int64), self.min_cluster_size)


def _condensed(distance: sparse.csr_array) -> np.ndarray:
    """Distances (N, N) with absent ones 1 as scipy's condensed vector (N (N - 1) / 2,)."""
    num_images = distance.shape[0]
    upper = sparse.triu(distance, k=1).tocoo()
    row, column = upper.row.astype(np.int64), upper.col.astype(np.int64)
    condensed = np.ones(num_images * (num_images - 1) // 2)
    condensed[num_images * row - row * (row + 1) // 2 + column - row - 1] = upper.data
    return condensed
