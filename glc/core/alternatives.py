"""Labelers and correctors to compare with: adapters of known algorithms to the interfaces of the label engine."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.neighbors import sort_graph_by_row_values
from sklearn.semi_supervised import LabelSpreading
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glc.core.clustering import BaseLabeler, JaccardLabeler
from glc.core.communities import leiden_communities
from glc.core.correction import BaseCorrector, UnusableLabelsError
from glc.core.graph import knn_graph, neighbour_matrix
from glc.core.jaccard import jaccard_distance
from glc.core.labels import ArrayOrTensor, as_labels, as_unit_features, compact_labels, like


class KMeansLabeler(BaseLabeler):
    """k-means of unit features, by scikit-learn: a given number of clusters and no outliers.

    Args:
        num_clusters: Number of clusters; with fewer (different) images, as many as these.
        seed: Seed of the first centroids.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.

    Example:
        >>> KMeansLabeler(num_clusters=2)(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]))
        array([0, 0, 1])
    """

    def __init__(self, num_clusters: int = 500, seed: int = 0) -> None:
        self.num_clusters = num_clusters
        self.seed = seed

    def _label(self, features: Tensor, cam_ids: np.ndarray | None) -> np.ndarray:
        kmeans = KMeans(min(self.num_clusters, len(features)), n_init='auto', random_state=self.seed)
        return compact_labels(kmeans.fit_predict(features.cpu().numpy()))


class JaccardHDBSCAN(JaccardLabeler):
    """HDBSCAN on the k-reciprocal Jaccard distance, by scikit-learn: no eps, clusters may differ in density.

    Campello, Moulavi and Sander, Density-Based Clustering Based on Hierarchical Density Estimates, 2013. The result is
    that of the dense distances, except that an image without images nearer than 1 around it is an outlier and that
    equal distances may be taken in another order. All images together are never one cluster.

    Args:
        min_cluster_size: Fewest images of a cluster, at least 2.
        min_samples: An image's distance to so many images, itself included, says how sparse its surroundings are;
            None is ``min_cluster_size``.
        selection: 'eom' takes the clusters that last longest while the distance shrinks, 'leaf' the smallest ones.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Take out what the cameras put in, where they are known; see
            :class:`glc.core.clustering.JaccardLabeler`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    def __init__(
        self,
        min_cluster_size: int = 5,
        min_samples: int | None = None,
        selection: str = 'eom',
        k1: int | Sequence[int] = 30,
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples
        self.selection = selection

    def _check(self) -> float:
        if self.min_samples is not None and self.min_samples < 1:
            raise ValueError(f'min_samples must be None or at least 1, got {self.min_samples}')
        return 1.0

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


class JaccardAgglomerative(JaccardLabeler):
    """Average linkage on the k-reciprocal Jaccard distance, by scipy: merges while the mean distance is small.

    The result is that of the dense distances. Only images that are linked by distances up to ``distance_threshold``
    can merge, so each such group is clustered by itself: 16 bytes for each of its pairs, 1.3 GB for 13,000 images.

    Args:
        distance_threshold: Largest mean distance between the images of two clusters that merge, in (0, 1).
        min_cluster_size: Clusters of fewer images become outliers.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Take out what the cameras put in, where they are known; see
            :class:`glc.core.clustering.JaccardLabeler`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    def __init__(
        self,
        distance_threshold: float = 0.6,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.distance_threshold = distance_threshold
        self.min_cluster_size = min_cluster_size

    def _check(self) -> float:
        _check_share('distance_threshold', self.distance_threshold)
        return 1.0

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
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


class JaccardLeiden(JaccardLabeler):
    """Communities of high modularity of the k-reciprocal Jaccard graph (Leiden), by networkit.

    Edges join images at a distance of at most ``cut``, with the weight 1 - distance; see
    :func:`glc.core.communities.leiden_communities`.

    Args:
        cut: Largest Jaccard distance of an edge, in (0, 1).
        resolution: Higher gives smaller clusters; what is right grows with the number of images.
        min_cluster_size: Clusters of fewer images become outliers.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Take out what the cameras put in, where they are known; see
            :class:`glc.core.clustering.JaccardLabeler`.
        seed: Seed of the order in which images move.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    def __init__(
        self,
        cut: float = 0.5,
        resolution: float = 1.0,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.cut = cut
        self.resolution = resolution
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    def _check(self) -> float:
        _check_share('cut', self.cut)
        return self.cut

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        similarity = distance.copy()
        similarity.data = 1 - distance.data
        return leiden_communities(similarity, self.resolution, self.min_cluster_size, self.seed)


class TransductiveCorrector(BaseCorrector):
    """Base of correctors that pass labels among the images that they were fitted on.

    A subclass implements ``_pass``.

    Attributes:
        labels_: int64 labels (N,) of ``fit``, numbered without gaps.
    """

    labels_: np.ndarray

    def fit(self, features: np.ndarray | Tensor, labels: np.ndarray | Tensor) -> Self:
        """Take the labels.

        Args:
            features: Features (N, D).
            labels: Integer labels (N,); negative = outlier.

        Returns:
            The corrector itself.

        Raises:
            UnusableLabelsError: All images are outliers.
            ValueError: Features are empty, not (N, D) or not finite, or labels are not N integers.
        """
        self.labels_ = compact_labels(as_labels(labels, len(as_unit_features(features)))).cpu().numpy()
        if self.labels_.max() < 0:
            raise UnusableLabelsError('no image has a label')
        return self

    def predict(self, features: ArrayOrTensor) -> ArrayOrTensor:
        """Correct the labels of ``fit``.

        Args:
            features: Features (N, D) of the same images in the same order.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: Features are not (N, D) or not finite, or a parameter is out of range.
        """
        check_is_fitted(self, 'labels_')
        x = as_unit_features(features)
        as_labels(self.labels_, len(x))
        return like(torch.from_numpy(compact_labels(self._pass(x, self.labels_))), features)

    @abstractmethod
    def _pass(self, features: Tensor, labels: np.ndarray) -> np.ndarray:
        """New labels (N,) of unit features (N, D) of a float32 tensor with labels (N,), -1 or 0..C-1."""


class NoCorrection(TransductiveCorrector):
    """Leaves the labels as they are.

    Example:
        >>> NoCorrection()(np.eye(3), np.array([4, 4, -1]))
        array([ 0,  0, -1])
    """

    def _pass(self, features: Tensor, labels: np.ndarray) -> np.ndarray:
        return labels


class NeighbourVoting(TransductiveCorrector):
    """Gives every image the label that most of its nearest neighbours have, weighted by similarity.

    An image, outlier or not, takes a label that has more than ``min_share`` of the weight of all its neighbours, itself
    included; without such a majority it stays what it is. Outliers do not vote, but their weight counts.

    Args:
        k: Neighbours per image, itself included.
        rounds: Rounds of voting, all images at once; ends early where nothing changes.
        min_share: Share of the weight that a label must exceed, in (0, 1).
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.

    Example:
        >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> NeighbourVoting(k=3)(features, np.array([0, 0, -1, 1]))
        array([0, 0, 0, 1])
    """

    def __init__(self, k: int = 12, rounds: int = 3, min_share: float = 0.5, backend: str = 'auto') -> None:
        self.k = k
        self.rounds = rounds
        self.min_share = min_share
        self.backend = backend

    def _pass(self, features: Tensor, labels: np.ndarray) -> np.ndarray:
        _check_share('min_share', self.min_share)
        indices, similarities = knn_graph(features, self.k, self.backend).arrays()
        weights = neighbour_matrix(indices, similarities.clip(0, 1).astype(np.float64))
        enough = self.min_share * weights.sum(axis=1)
        for _ in range(self.rounds):
            voters = np.flatnonzero(labels >= 0)
            ballots = sparse.csr_array(
                (np.ones(len(voters)), (voters, labels[voters])), shape=(len(labels), labels.max() + 1)
            )
            votes = weights @ ballots
            won = votes.max(axis=1).toarray().ravel() > enough
            previous, labels = labels, np.where(won, votes.argmax(axis=1).ravel(), labels)
            if (labels == previous).all():
                break
        return labels


class LabelPropagation(TransductiveCorrector):
    """Spreads the labels along the k-reciprocal Jaccard graph until they settle, by scikit-learn.

    Zhou et al., Learning with Local and Global Consistency, 2004 (``LabelSpreading``). Every image ends up with a share
    of every label; it takes one whose share exceeds ``min_share`` and otherwise stays what it is. Memory and time grow
    with images times clusters: four tables of 8 bytes each, 0.25 GB for 13,000 images and 600 clusters.

    Args:
        alpha: Weight of the neighbours against the image's own label, in (0, 1).
        min_share: Share that a label must exceed, in (0, 1).
        max_distance: Largest Jaccard distance of an edge, in (0, 1); its weight is 1 - distance.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
    """

    def __init__(
        self,
        alpha: float = 0.8,
        min_share: float = 0.5,
        max_distance: float = 0.7,
        k1: int | Sequence[int] = 30,
        k2: int = 6,
    ) -> None:
        self.alpha = alpha
        self.min_share = min_share
        self.max_distance = max_distance
        self.k1 = k1
        self.k2 = k2

    def _pass(self, features: Tensor, labels: np.ndarray) -> np.ndarray:
        for name in ('alpha', 'min_share', 'max_distance'):
            _check_share(name, getattr(self, name))
        weights = jaccard_distance(features, self.k1, self.k2, self.max_distance)
        weights.data = 1 - weights.data
        tolerance = 1e-3 * len(labels)  # on the sum of all changes
        spreading = LabelSpreading(kernel=lambda *_: weights, alpha=self.alpha, max_iter=1000, tol=tolerance)
        shares = spreading.fit(features.cpu().numpy(), labels).label_distributions_
        return np.where(shares.max(axis=1) > self.min_share, shares.argmax(axis=1), labels)


def _core_distances(distance: sparse.csr_array, min_samples: int) -> np.ndarray:
    """Distance (N,) of every image to its ``min_samples``-th nearest one, itself included."""
    nearest = sort_graph_by_row_values(distance, copy=True, warn_when_not_sorted=False)
    reached = np.diff(nearest.indptr) >= min_samples
    core = np.ones(len(reached), np.float32)
    core[reached] = nearest.data[nearest.indptr[:-1][reached] + min_samples - 1]
    return core


def _condensed(distance: sparse.csr_array) -> np.ndarray:
    """Distances (N, N) with absent ones 1 as scipy's condensed vector (N (N - 1) / 2,)."""
    num_images = distance.shape[0]
    upper = sparse.triu(distance, k=1).tocoo()
    row, column = upper.row.astype(np.int64), upper.col.astype(np.int64)
    condensed = np.ones(num_images * (num_images - 1) // 2)
    condensed[num_images * row - row * (row + 1) // 2 + column - row - 1] = upper.data
    return condensed


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f'{name} must lie in (0, 1), got {value!r}')
