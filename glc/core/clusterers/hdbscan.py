"""HDBSCAN on sparse distances, by scikit-learn."""

from __future__ import annotations

from numbers import Integral
from typing import ClassVar

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN
from sklearn.neighbors import sort_graph_by_row_values

from glc.core.clusterers.base import Clusterer
from glc.core.labels import compact_labels
from glc.core.parameters import AT_LEAST_ONE, Interval, Rules, StrOptions


class HDBSCANClusterer(Clusterer):
    """Density-based clustering without eps; clusters may differ in density.

    Campello, Moulavi and Sander, Density-Based Clustering Based on Hierarchical Density Estimates, 2013. The result is
    that of the dense distances, with two exceptions: an image without images nearer than 1 around it is an outlier, and
    equal distances may be taken in another order. All images together are never one cluster.

    Args:
        min_cluster_size: Fewest images of a cluster, at least 2.
        min_samples: An image's distance to so many images, itself included, says how sparse its surroundings are;
            None is ``min_cluster_size``.
        selection: 'eom' takes the clusters that last longest while the distance shrinks, 'leaf' the smallest ones.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'min_cluster_size': [Interval(Integral, 2, None, closed='left')],
        'min_samples': [*AT_LEAST_ONE, None],
        'selection': [StrOptions({'eom', 'leaf'})],
    }
    has_cut = False
    reach = 1.0

    def __init__(
        self, min_cluster_size: int = 5, min_samples: int | None = None, selection: str = 'eom'
    ) -> None:
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples
        self.selection = selection

    def advice(self, num_clusters: int) -> str:
        """Name ``min_cluster_size``."""
        return 'lower min_cluster_size'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        core = _core_distances(distance, self.min_samples or self.min_cluster_size)
        reach = distance.tocoo()
        reach.data = np.maximum(reach.data, np.maximum(core[reach.row], core[reach.col]))
        # What only a distance of 1, that of absent entries, joins to others is an outlier; scikit-learn would hang it
        # on any cluster.
        near = np.flatnonzero(core < 1)
        reach = reach.tocsr()[near][:, near]
        component = connected_components(reach, directed=False)[1]
        large = np.bincount(component)[component] >= self.min_cluster_size
        near, reach = near[large], reach[large][:, large]
        labels = np.full(len(core), -1)
        if len(near) >= 2 * self.min_cluster_size:
            first = np.unique(component[large], return_index=True)[1]
            ends = first[:-1], first[1:]
            bridges = sparse.coo_array((np.ones(len(first) - 1, np.float32), ends), shape=reach.shape)
            hdbscan = HDBSCAN(
                min_cluster_size=self.min_cluster_size,
                min_samples=1,  # leaves the distances as they are
                metric='precomputed',
                cluster_selection_method=self.selection,
                copy=False,
            )
            labels[near] = hdbscan.fit_predict(reach + bridges + bridges.T)
        return compact_labels(labels)


def _core_distances(distance: sparse.csr_array, min_samples: int) -> np.ndarray:
    """Distance (N,) of every image to its ``min_samples``-th nearest one, itself included."""
    nearest = sort_graph_by_row_values(distance, copy=True, warn_when_not_sorted=False)
    reached = np.diff(nearest.indptr) >= min_samples
    core = np.ones(len(reached), np.float32)
    core[reached] = nearest.data[nearest.indptr[:-1][reached] + min_samples - 1]
    return core
