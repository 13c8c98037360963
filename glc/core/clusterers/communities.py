"""Communities of the graph of near images, found by networkit: map equation and modularity."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from glc.core.clusterers.base import Clusterer, as_graph
from glc.core.labels import compact_labels
from glc.core.parameters import (
    AT_LEAST_ONE,
    AUTO_CUT,
    CUT,
    MIN_CLUSTER_SIZE,
    POSITIVE,
    SEED,
    Rules,
    checked,
)

#: Tightest and loosest cut of ``cut='auto'``.
CUT_RANGE = (0.5, 0.75)
_CUT_STEP = 0.005
_NODES_PER_BLOCK = 2**14


@checked(min_size=AT_LEAST_ONE, **SEED)
def map_equation_communities(similarity: sparse.csr_array, min_size: int = 1, seed: int = 0) -> np.ndarray:
    """Communities in which a random walker stays: Louvain's moves on the map equation.

    Rosvall, Axelsson and Bergstrom, The map equation, 2009; networkit's LouvainMapEquation, on one thread, so that
    the result depends on nothing but the graph and the seed. It sets the number of communities itself.

    Args:
        similarity: Symmetric sparse matrix (N, N) of edge weights >= 0; the diagonal does not count.
        min_size: Communities of fewer images become outliers.
        seed: Seed of the order in which images move.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.

    Raises:
        ValueError: A parameter is out of range, or the weights are not a square matrix of numbers of at least 0.

    Example:
        >>> blocks = sparse.csr_array(np.kron(np.eye(2), np.ones((4, 4))))
        >>> map_equation_communities(blocks)
        array([0, 0, 0, 0, 1, 1, 1, 1])
    """
    return _communities(
        similarity,
        lambda networkit, graph: networkit.community.LouvainMapEquation(graph, False, 32, 'none'),
        min_size,
        seed,
    )


@checked(resolution=POSITIVE, min_size=AT_LEAST_ONE, **SEED)
def leiden_communities(
    similarity: sparse.csr_array, resolution: float = 1.0, min_size: int = 1, seed: int = 0
) -> np.ndarray:
    """Communities of high modularity.

    Traag, Waltman and van Eck, From Louvain to Leiden, 2019; networkit's ParallelLeiden, on one thread.

    Args:
        similarity: Symmetric sparse matrix (N, N) of edge weights >= 0; the diagonal does not count.
        resolution: Higher gives smaller communities. Modularity prefers ever larger ones as the graph grows; the
            map equation does not.
        min_size: Communities of fewer images become outliers.
        seed: Seed of the order in which images move.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.

    Raises:
        ValueError: A parameter is out of range, or the weights are not a square matrix of numbers of at least 0.

    Example:
        >>> blocks = sparse.csr_array(np.kron(np.eye(2), np.ones((4, 4))))
        >>> leiden_communities(blocks)
        array([0, 0, 0, 0, 1, 1, 1, 1])
    """
    return _communities(
        similarity,
        lambda networkit, graph: networkit.community.ParallelLeiden(graph, 3, True, resolution),
        min_size,
        seed,
    )


class MapEquationClusterer(Clusterer):
    """Communities of a random walk: edges join images up to a cut, with the weight 1 - distance.

    The map equation sets the number of clusters (:func:`map_equation_communities`). Against DBSCAN, a single false link
    does not merge two people, and the cut matters little.

    A tight cut keeps people apart but leaves images over. Almost every image has another of the same person, so many
    outliers say, without ground truth, that a cut is too tight for the features. ``cut='auto'`` is the tightest in
    :data:`CUT_RANGE` at which at most ``max_outliers`` of the images are outliers, found by bisection, or the loosest.

    Args:
        cut: See :mod:`glc.core.parameters`.
        max_outliers: See :mod:`glc.core.parameters`.
        min_cluster_size: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move.

    Attributes:
        cut_: The cut of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {**AUTO_CUT, **MIN_CLUSTER_SIZE, **SEED}

    def __init__(
        self, cut: float | str = 'auto', max_outliers: float = 0.1, min_cluster_size: int = 4, seed: int = 0
    ) -> None:
        self.cut = cut
        self.max_outliers = max_outliers
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    @property
    def reach(self) -> float:
        """The cut, or the loosest that ``'auto'`` tries."""
        return CUT_RANGE[1] if isinstance(self.cut, str) else self.cut

    def with_cut(self, delta: float) -> MapEquationClusterer:
        """Return the clusterer at a fixed cut, that of the last call plus ``delta``."""
        return MapEquationClusterer(self.cut_ + delta, self.max_outliers, self.min_cluster_size, self.seed)

    def advice(self, num_clusters: int) -> str:
        """Name ``cut`` and ``min_cluster_size``."""
        return 'raise cut or lower min_cluster_size' if num_clusters == 0 else 'lower cut'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        if not isinstance(self.cut, str):
            return self._cluster_at(distance, self.cut)
        tightest, loosest = CUT_RANGE
        labels = self._cluster_at(distance, tightest)
        if self._leaves_few_over(labels):
            return labels
        labels = self._cluster_at(distance, loosest)
        if not self._leaves_few_over(labels):
            return labels
        while loosest - tightest > _CUT_STEP:
            middle = (tightest + loosest) / 2
            tried = self._cluster_at(distance, middle)
            if self._leaves_few_over(tried):
                labels, loosest = tried, middle
            else:
                tightest = middle
        self.cut_ = loosest
        return labels

    def _cluster_at(self, distance: sparse.csr_array, cut: float) -> np.ndarray:
        self.cut_ = cut
        return map_equation_communities(_similarity(distance, cut), self.min_cluster_size, self.seed)

    def _leaves_few_over(self, labels: np.ndarray) -> bool:
        return float(np.mean(labels < 0)) <= self.max_outliers


class LeidenClusterer(Clusterer):
    """Communities of high modularity: edges join images up to a cut, with the weight 1 - distance.

    See :func:`leiden_communities`.

    Args:
        cut: See :mod:`glc.core.parameters`.
        resolution: Higher gives smaller clusters; what is right grows with the number of images.
        min_cluster_size: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move.

    Attributes:
        cut_: The cut of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {
        **CUT,
        'resolution': POSITIVE,
        **MIN_CLUSTER_SIZE,
        **SEED,
    }

    def __init__(
        self, cut: float = 0.5, resolution: float = 1.0, min_cluster_size: int = 4, seed: int = 0
    ) -> None:
        self.cut = cut
        self.resolution = resolution
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    @property
    def reach(self) -> float:
        """The cut."""
        return self.cut

    def with_cut(self, delta: float) -> LeidenClusterer:
        """Return the clusterer at the cut plus ``delta``."""
        return LeidenClusterer(self.cut + delta, self.resolution, self.min_cluster_size, self.seed)

    def advice(self, num_clusters: int) -> str:
        """Name ``cut``, ``resolution`` and ``min_cluster_size``."""
        return 'raise cut or lower min_cluster_size' if num_clusters == 0 else 'lower cut or raise resolution'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.cut_ = self.cut
        similarity = _similarity(distance, self.cut)
        return leiden_communities(similarity, self.resolution, self.min_cluster_size, self.seed)


def _similarity(distance: sparse.csr_array, cut: float) -> sparse.csr_array:
    """1 - distance where that is at most the cut."""
    similarity = distance.copy()
    similarity.data = np.where(distance.data <= np.float32(cut), 1 - distance.data, 0)
    similarity.eliminate_zeros()
    return similarity


def _communities(
    similarity: sparse.csr_array, algorithm: Callable[[Any, Any], Any], min_size: int, seed: int
) -> np.ndarray:
    """Run an algorithm of networkit on the images in the order of the weights that they hold.

    Such algorithms move one image after the other, so their result depends on the order of the images. The order by
    weight makes the result independent of the order in which the caller lists them, unless two hold the same weight.
    """
    similarity = as_graph(similarity, 'similarity')
    images = np.argsort(similarity.sum(axis=1, dtype=np.float64), kind='stable')
    networkit = import_module('networkit')  # takes seconds to import
    graph = networkit.graph.GraphFromCsr(_upper_half(similarity, images), directed=False, weighted=True)
    num_threads = networkit.getMaxNumberOfThreads()
    networkit.setSeed(seed, False)
    networkit.setNumberOfThreads(1)
    try:
        search = algorithm(networkit, graph)
        search.run()
    finally:
        networkit.setNumberOfThreads(num_threads)
    found = np.empty(len(images), np.int64)
    found[images] = search.getPartition().getVector()
    _, first, community = np.unique(found, return_index=True, return_inverse=True)
    return compact_labels(first[community], min_size)  # numbered in the order of their first images


def _upper_half(similarity: sparse.csr_array, images: np.ndarray) -> sparse.csr_array:
    """Return the edges i < j of the graph whose node i is ``images[i]``, with sorted columns.

    Made in blocks: copies of the whole graph would be larger than the result.
    """
    node = np.empty(len(images), similarity.indices.dtype)
    node[images] = np.arange(len(images))
    blocks = []
    for start in range(0, len(images), _NODES_PER_BLOCK):
        block = similarity[images[start : start + _NODES_PER_BLOCK]]
        block.indices = node[block.indices]
        block = sparse.triu(block, k=start + 1, format='csr')
        block.sort_indices()
        blocks.append(block)
    return sparse.vstack(blocks, format='csr')
