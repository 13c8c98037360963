"""Communities of a similarity graph, found by networkit."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from scipy import sparse

from glc.core.labels import compact_labels

#: Tightest and loosest cut of ``cut='auto'``.
CUT_RANGE = (0.5, 0.75)
_CUT_STEP = 0.005


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


def cut_communities(
    distance: sparse.csr_array, cut: float | str, max_outliers: float, min_size: int, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Map equation communities of the graph of all distances up to a cut, with weights 1 - distance.

    A tight cut keeps people apart but leaves images over. Data sets of people hold few images without a second
    one, so many outliers say, without ground truth, that a cut is too tight for the features: ``cut='auto'`` is
    the tightest in :data:`CUT_RANGE` at which at most ``max_outliers`` of the images are outliers, found by bisection,
    or the loosest.

    Args:
        distance: Sparse distances (N, N), see :func:`glc.core.jaccard.jaccard_distance`.
        cut: Largest distance of an edge, in (0, 1), or 'auto'.
        max_outliers: Share of the images.
        min_size: Communities of fewer images become outliers.
        seed: See :func:`map_equation_communities`.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps; and the cut.

    Raises:
        ValueError: The cut is out of range.
    """

    def label(tried: float) -> tuple[np.ndarray, float]:
        edges = distance.copy()
        edges.data = np.where(distance.data <= np.float32(tried), 1 - distance.data, 0)
        edges.eliminate_zeros()
        return map_equation_communities(edges, min_size, seed), tried

    def leaves_few_over(result: tuple[np.ndarray, float]) -> bool:
        return float(np.mean(result[0] < 0)) <= max_outliers

    loosest = largest_cut(cut)
    if not isinstance(cut, str):
        return label(cut)
    tightest = CUT_RANGE[0]
    result = label(tightest)
    if leaves_few_over(result):
        return result
    result = label(loosest)
    while leaves_few_over(result) and loosest - tightest > _CUT_STEP:
        tried = label((tightest + loosest) / 2)
        if leaves_few_over(tried):
            result, loosest = tried, tried[1]
        else:
            tightest = tried[1]
    return result


def part_labels(distance: sparse.csr_array, labels: np.ndarray, weight: float) -> sparse.csr_array:
    """Distances that lean a little on labels: images with different labels get less similar.

    Where the graph is undecided, the labels decide, which keeps what was right; where it is sure, they do not.

    Args:
        distance: Sparse distances (N, N).
        labels: Integer labels (N,); negative = outlier, no opinion.
        weight: Share of its similarity, 1 - distance, that a pair with different labels loses, in [0, 1].

    Returns:
        Sparse distances (N, N) at the same places.

    Example:
        >>> distance = sparse.csr_array(np.full((3, 3), 0.5))
        >>> part_labels(distance, np.array([0, 1, -1]), 0.1).toarray()
        array([[0.5 , 0.55, 0.5 ],
               [0.55, 0.5 , 0.5 ],
               [0.5 , 0.5 , 0.5 ]])
    """
    own, other = np.repeat(labels, np.diff(distance.indptr)), labels[distance.indices]
    apart = (own != other) & (own >= 0) & (other >= 0)
    parted = distance.copy()
    parted.data[apart] = 1 - (1 - weight) * (1 - distance.data[apart])
    return parted


def follow_labels(clusters: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Let images without a cluster follow the images of their label, where nearly all of these are in one cluster.

    Args:
        clusters: Clusters (N,), -1 = outlier, others 0..C-1.
        labels: Integer labels (N,); negative = outlier.
        share: Images of a label are followed where more than this share of all of them is in one cluster.

    Returns:
        int64 clusters (N,) in which some outliers have a cluster.

    Example:
        >>> follow_labels(np.array([0, 0, 0, -1, 1, -1]), np.array([5, 5, 5, 5, 6, 6]), 0.7)
        array([ 0,  0,  0,  0,  1, -1])
    """
    label = compact_labels(labels)
    if min(label.max(), clusters.max()) < 0:
        return clusters
    known = np.flatnonzero((label >= 0) & (clusters >= 0))
    counts = sparse.csr_array(
        (np.ones(len(known)), (label[known], clusters[known])), shape=(label.max() + 1, clusters.max() + 1)
    )
    followed = counts.max(axis=1).toarray().ravel() > share * np.bincount(label[label >= 0])
    target = np.where(followed, counts.argmax(axis=1).ravel(), -1)
    return np.where((clusters < 0) & (label >= 0), target[label], clusters)


def largest_cut(cut: float | str) -> float:
    """The largest distance that :func:`cut_communities` looks at for this cut."""
    if cut == 'auto':
        return CUT_RANGE[1]
    if isinstance(cut, str) or not 0 < cut < 1:
        raise ValueError(f"cut must lie in (0, 1) or be 'auto', got {cut!r}")
    return cut


def _communities(
    similarity: sparse.csr_array, algorithm: Callable[[Any, Any], Any], min_size: int, seed: int
) -> np.ndarray:
    """Run an algorithm of networkit on the images in the order of the weights that they hold.

    Such algorithms move one image after the other, so their result depends on the order: this one stays the same
    when the images are permuted, unless some hold the same weight.
    """
    networkit = import_module('networkit')  # takes seconds to import
    images = np.argsort(similarity.sum(axis=1, dtype=np.float64), kind='stable')
    upper = sparse.triu(similarity[images][:, images], k=1).tocsr()
    upper.sort_indices()
    upper = upper.tocoo()
    graph = networkit.GraphFromCoo(
        (upper.data.astype(np.float64), (upper.row, upper.col)), n=len(images), weighted=True
    )
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
