"""k-reciprocal Jaccard distance, sparse, at one or several neighborhood sizes.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017,
without dense matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import repeat
from math import ceil
from typing import TypeAlias

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee
from torch import Tensor

from glc.core.distributed import ALONE, Workers
from glc.core.labels import as_features, as_unit_features
from glc.core.neighbors.jaccard_numba import (
    Rows,
    averaged_rows,
    by_column,
    expanded_sets,
    gaussian_rows,
    join_rows,
    kept_threads,
    mean_distances,
    mutual_neighbors,
    num_inverted,
    parallel_rows,
    places_in_return,
    stack_blocks,
)
from glc.core.neighbors.jaccard_torch import CompressedRows, encode_rows, near_pairs
from glc.core.neighbors.knn import KNNGraph, euclidean_graph, neighbor_matrix, unit_knn_graph
from glc.core.parameters import BOOLEAN, NEIGHBORHOODS, SHARE, check_parameters, checked

Encoding: TypeAlias = sparse.csr_array | CompressedRows
Scale: TypeAlias = tuple[int, int]
Expanded: TypeAlias = tuple[np.ndarray, dict[int, Rows]]

_TINY = np.finfo(np.float32).tiny
_ROWS_PER_INVERSION = 2**20  # of millions of images, the lists of all rows would be the largest arrays
_MATRICES = 16  # of a call of mean_distances, which is compiled for each number of them


@checked(**NEIGHBORHOODS, max_distance=SHARE, graph=[KNNGraph, None], unit_features=BOOLEAN)
def jaccard_distance(
    features: np.ndarray | Tensor,
    k1: int | Sequence[int] = 30,
    k2: int | Sequence[int] = 6,
    max_distance: float = 1.0,
    graph: KNNGraph | None = None,
    unit_features: bool = True,
) -> sparse.csr_array:
    """Compute the Jaccard distance between the k-reciprocal neighbor sets of all images.

    With rank(i) the first k1 neighbors of i, itself first, and half(i) the first round(k1 / 2) + 1 of them:

    1. R(i) holds the j in rank(i) with i in rank(j); H(i) the same with half.
    2. E(i) is R(i) and every H(j), j in R(i), of which more than 2/3 lie in R(i).
    3. V(i, j) is the softmax over j in E(i) of -(2 - 2 <x_i, x_j>), 0 elsewhere.
    4. V(i) becomes the mean of V over the first k2 entries of rank(i).
    5. d(i, j) = 1 - s / (2 - s) with s = sum_l min(V(i, l), V(j, l)).

    Several k1 give the mean of their distances. A small k1 tells apart people who look alike. A large one holds
    together a person seen often. Pairs that are near at every scale stand out from those near at one.

    Args:
        features: Features (N, D).
        k1: Neighbors, with itself, among which reciprocal ones are looked for; all if there are fewer. Several
            numbers give the mean distance.
        k2: Neighbors, with itself, over which V is averaged; at most k1. One number for every k1, or one for each.
        max_distance: Larger distances are left out; 1 keeps every distance below 1.
        graph: kNN graph of these features with at least min(k1, N) columns for the largest k1; None computes it.
        unit_features: Scale the features to unit length first. False takes them as they are; their neighbors are then
            the nearest by Euclidean distance.

    Returns:
        Symmetric float32 matrix (N, N) of the distances <= ``max_distance``; an absent entry is farther apart
        (or, with ``max_distance=1``, exactly 1). The diagonal is present. Zero distances are stored as a tiny
        positive number, as sparse neighbor searches treat only stored entries as neighbors.

    Raises:
        ValueError: A parameter is out of range, or the graph does not fit the features or k1.

    Example:
        >>> features = np.array([[1.0, 0.0], [1.0, 0.1], [0.1, 1.0], [0.0, 1.0]])
        >>> jaccard_distance(features, k1=2, k2=1).toarray().round(3)
        array([[0.  , 0.01, 0.  , 0.  ],
               [0.01, 0.  , 0.  , 0.  ],
               [0.  , 0.  , 0.  , 0.01],
               [0.  , 0.  , 0.01, 0.  ]], dtype=float32)
    """
    scales = as_scales(k1, k2)
    x = as_features(features, unit_features)
    if graph is None and not unit_features:
        graph = euclidean_graph(x, max(scales)[0])
    return unit_jaccard_distance([_with_graph(x, graph, max(scales)[0])], scales, max_distance)


@checked(**NEIGHBORHOODS, max_distance=SHARE, workers=[Workers])
def mean_jaccard_distance(
    views: Sequence[tuple[np.ndarray | Tensor, KNNGraph | None]],
    k1: int | Sequence[int] = 30,
    k2: int | Sequence[int] = 6,
    max_distance: float = 1.0,
    workers: Workers = ALONE,
) -> sparse.csr_array:
    """Compute the mean of the :func:`jaccard_distance` of several views of the same images.

    Args:
        views: Features (N, D) and their kNN graph, or None to compute it.
        k1: See :func:`jaccard_distance`.
        k2: See :func:`jaccard_distance`.
        max_distance: See :func:`jaccard_distance`.
        workers: Processes that share the distances.

    Returns:
        See :func:`jaccard_distance`.

    Raises:
        ValueError: A parameter is out of range, a graph does not fit its features or k1, or the views are none or of
            different images.
    """
    scales = as_scales(k1, k2)
    if not len(views):
        raise ValueError('views must hold at least one pair of features and graph, got none')
    known = [_with_graph(as_unit_features(x), graph, max(scales)[0]) for x, graph in views]
    if len({len(x) for x, _ in known}) > 1:
        raise ValueError(f'views must be of the same images, got {[len(x) for x, _ in known]} images')
    return unit_jaccard_distance(known, scales, max_distance, workers)


@kept_threads()
def unit_jaccard_distance(
    views: Sequence[tuple[Tensor, KNNGraph]],
    scales: Sequence[Scale],
    max_distance: float,
    workers: Workers = ALONE,
) -> sparse.csr_array:
    """Do the work of :func:`mean_jaccard_distance` for float32 features as they are, and scales that are checked."""
    return ReciprocalSets(views, scales).distance(max_distance, workers)


class ReciprocalSets:
    """What the Jaccard distance takes from features, so that they are not needed after it.

    On the CPU, images are put in an order in which neighbors are close to each other in memory (reverse
    Cuthill-McKee). In random order the work waits for memory most of the time.

    Args:
        views: float32 features (N, D) as they are, and their graphs of at least the largest k1.
        scales: Pairs (k1, k2), which are not checked.
    """

    def __init__(self, views: Sequence[tuple[Tensor, KNNGraph]], scales: Sequence[Scale]) -> None:
        views = [(x, graph.first(max(scales)[0])) for x, graph in views]
        self._scales = scales
        self._images: np.ndarray | None = None
        self._encoded: list[Encoding] = []
        self._expanded: list[Expanded] = []
        if views[0][0].device.type != 'cpu':
            self._encoded = [v for x, graph in views for v in _encodings(x, graph.indices, scales)]
            return
        order = _order_of_neighbors(views[0][1])
        place = torch.empty(len(order), dtype=torch.int32)
        place[order] = torch.arange(len(order), dtype=torch.int32)
        self._images = order.numpy()
        self._expanded = [
            _expanded(x, place[graph.indices][order], scales, images=self._images) for x, graph in views
        ]

    def distance(self, max_distance: float, workers: Workers = ALONE) -> sparse.csr_array:
        """Compute the mean distance, see :func:`mean_jaccard_distance`; once, since the sets are given up on the way.

        Raises:
            ValueError: ``max_distance`` is out of range.
        """
        if not 0 <= max_distance <= 1:
            raise ValueError(f'max_distance must lie in [0, 1], got {max_distance}')
        return _symmetric(_pairs_within(self._given_up(), max_distance, workers), self._images)

    def _given_up(self) -> list[Encoding]:
        while self._expanded:
            self._encoded += _encoded(*self._expanded.pop(0), self._scales)
        encoded, self._encoded = self._encoded, []
        return encoded


def reciprocal_encodings(
    features: np.ndarray | Tensor,
    k1: int | Sequence[int] = 30,
    k2: int | Sequence[int] = 6,
    graph: KNNGraph | None = None,
    half: int | None = None,
    scale: np.ndarray | None = None,
    power: float = 1.0,
) -> list[Encoding]:
    """Compute the V of :func:`jaccard_distance`, after query expansion, for every k1.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        k1: See :func:`jaccard_distance`.
        k2: See :func:`jaccard_distance`.
        graph: See :func:`jaccard_distance`. Only its order of the neighbors counts.
        half: Neighbors, with itself, of the half sets H; None for round(k1 / 2) + 1, at most k1.
        scale: Positive float64 array (N,) that divides the squared distances of row i in step 3; None for ones.
        power: Power to which the squared distances, so divided, are raised in step 3.

    Returns:
        float32 sparse matrices (N, N), one for every k1, whose rows sum to 1: of scipy, or compressed rows
        on the device of the features where that is not the CPU.

    Raises:
        ValueError: A parameter is out of range, or the graph does not fit the features or k1.
    """
    scales = as_scales(k1, k2)
    x, graph = _with_graph(as_unit_features(features), graph, max(scales)[0])
    return _encodings(x, graph.indices, scales, half, scale, power)


def encoding_distance(
    encodings: list[Encoding], max_distance: float = 1.0, workers: Workers = ALONE
) -> sparse.csr_array:
    """Compute the mean Jaccard distance between the rows of several V, by inverted lists of the images of a column.

    It runs on the device of the V; only the pairs that are kept leave it. Devices differ by rounding errors.

    Args:
        encodings: Matrices (N, N) of :func:`reciprocal_encodings`, of any scales, graphs or features.
        max_distance: Larger distances are left out.
        workers: Processes that share the pairs.

    Returns:
        Sparse distances (N, N) as :func:`jaccard_distance` returns them.
    """
    return _symmetric(_pairs_within(encodings, max_distance, workers))


def as_scales(
    k1: int | Sequence[int], k2: int | Sequence[int], owner: str = 'the Jaccard distance'
) -> tuple[Scale, ...]:
    """Check neighborhood sizes.

    Args:
        k1: One size, or several.
        k2: Neighbors over which encodings are averaged: one number for every k1, or one for each.
        owner: What has these parameters, for the message.

    Returns:
        The pairs (k1, k2).

    Raises:
        ValueError: A size is not an integer, not ``1 <= k2 <= k1``, or there are not as many k2 as k1.
    """
    check_parameters(owner, {'k1': k1, 'k2': k2}, NEIGHBORHOODS)
    sizes, averaged = (np.atleast_1d(k).tolist() for k in (k1, k2))
    if len(averaged) not in (1, len(sizes)):
        raise ValueError(f'k2 of {owner} must be one number or as many as k1, got k1={k1}, k2={k2}')
    scales = tuple(zip(sizes, averaged * len(sizes) if len(averaged) == 1 else averaged, strict=True))
    if not all(1 <= second <= first for first, second in scales):
        raise ValueError(f'k1 and k2 of {owner} must satisfy 1 <= k2 <= k1, got k1={k1}, k2={k2}')
    return scales


def _with_graph(x: Tensor, graph: KNNGraph | None, k1: int) -> tuple[Tensor, KNNGraph]:
    """Return unit features, and their graph of at least k1 neighbors."""
    if graph is None:
        graph = unit_knn_graph(x, k1)
    if graph.num_nodes != len(x) or graph.k < min(k1, len(x)):
        raise ValueError(
            f'the graph has {graph.num_nodes} images and {graph.k} neighbors, '
            f'but the features have {len(x)} images and k1={k1}'
        )
    if int(graph.indices.min()) < 0 or int(graph.indices.max()) >= len(x):
        raise ValueError(f'the graph names neighbors outside of its {len(x)} images')
    return x, graph


def _pairs_within(encodings: list[Encoding], max_distance: float, workers: Workers) -> Rows:
    """Do the work of :func:`encoding_distance` for pairs i < j: indptr, columns and distances, on the CPU."""
    limit = float(np.float32(max_distance))
    if isinstance(encodings[0], CompressedRows):
        blocks = near_pairs(encodings, limit, workers.triangle_rows(len(encodings[0].starts) - 1))
    else:
        blocks = _near_pairs(encodings, limit, workers.triangle_rows(encodings[0].shape[0]))
    return join_rows(workers.gather_blocks(list(blocks)))


def _symmetric(pairs: Rows, images: np.ndarray | None = None) -> sparse.csr_array:
    """Make the distances (N, N) of pairs i < j, of each image to itself and of pairs j > i.

    Args:
        pairs: indptr, columns and distances.
        images: Image (N,) that each of the rows and columns is; None: they are in order.
    """
    indptr, columns, distances = pairs
    num_images = len(indptr) - 1
    everyone = np.arange(num_images, dtype=np.int32) if images is None else images.astype(np.int32)
    rows, columns = everyone.repeat(np.diff(indptr)), everyone[columns]
    coordinates = tuple(
        np.concatenate(parts) for parts in ((rows, columns, everyone), (columns, rows, everyone))
    )
    values = np.concatenate([distances, distances, np.zeros(num_images, np.float32)]).clip(_TINY)
    return sparse.coo_array((values, coordinates), shape=(num_images, num_images)).tocsr()


def _encodings(
    x: Tensor,
    indices: Tensor,
    scales: Sequence[Scale],
    half: int | None = None,
    scale: np.ndarray | None = None,
    power: float = 1.0,
) -> list[Encoding]:
    """Do the work of :func:`reciprocal_encodings` for neighbors (N, k)."""
    if x.device.type != 'cpu':
        ranks = indices[:, : max(scales)[0]].to(x.device).int()
        return [encode_rows(x, ranks, k1, k2, half, scale, power) for k1, k2 in scales]
    return _encoded(*_expanded(x, indices, scales, half), scales, scale, power)


def _expanded(
    x: Tensor,
    indices: Tensor,
    scales: Sequence[Scale],
    half: int | None = None,
    images: np.ndarray | None = None,
) -> Expanded:
    """Find the neighbors (N, K) and, for every k1, the expanded sets and how near their images are, on the CPU.

    Args:
        x: Features (N, D).
        indices: Neighbors (N, K), or more of them.
        scales: Pairs (k1, k2).
        half: See :func:`reciprocal_encodings`.
        images: Rows (N,) of the features that the neighbors are of; None: they are in order.
    """
    ranks = indices[:, : max(scales)[0]].int()
    vectors, neighbors = (np.ascontiguousarray(part.numpy()) for part in (x, ranks))
    places = np.empty(neighbors.shape, np.min_scalar_type(neighbors.shape[1]))
    list(parallel_rows(partial(places_in_return, neighbors, places), range(len(neighbors))))
    images = np.arange(len(x)) if images is None else images
    known: Rows = np.zeros(len(x) + 1, np.int64), np.empty(0, np.int32), np.empty(0)
    pairs: dict[int, Rows] = {}
    # The largest one comes first, since it knows nearly all pairs of the others.
    for k1 in sorted({first for first, _ in scales}, reverse=True):
        pairs[k1] = _pairs(vectors, images, neighbors, places, known, k1, half)
        known = next(iter(pairs.values()))
    return neighbors, pairs


def _encoded(
    neighbors: np.ndarray,
    pairs: dict[int, Rows],
    scales: Sequence[Scale],
    scale: np.ndarray | None = None,
    power: float = 1.0,
) -> list[Encoding]:
    """Make the V of every scale from the pairs of every k1, which are given up."""
    encodings: dict[Scale, Encoding] = {}
    for k1 in list(pairs):
        own = pairs.pop(k1)
        for k2 in {second for first, second in scales if first == k1}:
            encodings[k1, k2] = _encoding(own, neighbors, k2, scale, power)
        del own  # before the next ones are made
    return [encodings[each] for each in scales]


def _order_of_neighbors(graph: KNNGraph) -> Tensor:
    """Return an order (N,) of the images in which neighbors come close to each other."""
    indices = graph.indices.numpy()
    links = neighbor_matrix(indices, np.ones(indices.shape, np.int8))
    return torch.from_numpy(reverse_cuthill_mckee(links, symmetric_mode=False).astype(np.int64))


def _near_pairs(encodings: list[sparse.csr_array], max_distance: float, rows: range) -> Iterator[Rows]:
    """Do the work of :func:`glc.core.neighbors.jaccard_torch.near_pairs` on the CPU."""
    by_row = [
        (m.indptr.astype(np.int64), m.indices.astype(np.int32, copy=False).view(np.uint32), m.data)
        for m in sorted(encodings, key=lambda matrix: matrix.nnz)
    ]
    inverted = num_inverted(len(by_row), max_distance)
    length = _MATRICES * ceil(len(by_row) / _MATRICES)
    padded = tuple(by_row + by_row[:1] * (length - len(by_row)))
    for start in range(rows.start, rows.stop, _ROWS_PER_INVERSION):
        window = range(start, min(start + _ROWS_PER_INVERSION, rows.stop))
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            bounds = repeat(window.start), repeat(window.stop)
            lists = list(threads.map(by_column, by_row[:inverted], *bounds))
        lists += lists[:1] * (length - inverted)
        yield from parallel_rows(
            partial(mean_distances, len(by_row), padded, tuple(lists), max_distance, window.start), window
        )
        del lists  # before the next ones are made


def _pairs(
    features: np.ndarray,
    images: np.ndarray,
    ranks: np.ndarray,
    places: np.ndarray,
    known: Rows,
    k1: int,
    half: int | None,
) -> Rows:
    """Find the expanded sets at one scale, and how near their images are: indptr, columns and float64 values."""
    rows = range(len(ranks))
    sizes = (min(k, k1, ranks.shape[1]) for k in (k1, round(k1 / 2) + 1 if half is None else half))
    mutual, half_mutual = (_mutual(ranks, places, k) for k in sizes)
    counts, columns = stack_blocks(parallel_rows(partial(expanded_sets, *mutual, *half_mutual), rows))
    indptr = np.concatenate([[0], counts.cumsum()])
    values = np.empty(len(columns))
    list(parallel_rows(partial(gaussian_rows, features, images, known, indptr, columns, values), rows))
    return indptr, columns, values


def _mutual(ranks: np.ndarray, places: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the mutual neighbors among the first k: their numbers (N,), and the neighbors (N, k)."""
    counts, members = np.empty(len(ranks), np.int32), np.empty((len(ranks), k), np.int32)
    list(parallel_rows(partial(mutual_neighbors, ranks, places, counts, members), range(len(ranks))))
    return counts, members


def _encoding(
    pairs: Rows, ranks: np.ndarray, k2: int, scale: np.ndarray | None, power: float
) -> sparse.csr_array:
    """Do the rest of the work of :func:`glc.core.neighbors.jaccard_torch.encode_rows` on the CPU."""
    indptr, columns, weights = pairs
    sizes = np.diff(indptr)
    if scale is not None:
        weights = weights ** np.repeat(1 / scale, sizes)
    if power != 1:
        weights = np.exp(-(np.maximum(-np.log(weights), 0) ** power))
    totals = np.repeat(np.add.reduceat(weights, indptr[:-1]), sizes)
    weights = np.divide(weights, totals, out=totals)  # the given weights are still needed
    average = partial(averaged_rows, ranks, min(k2, ranks.shape[1]), indptr, columns, weights)
    indptr, columns, weights = join_rows(parallel_rows(average, range(len(ranks))))
    if len(columns) <= np.iinfo(np.int32).max:  # scipy takes the wider type of the two for both
        indptr = indptr.astype(np.int32)
    return sparse.csr_array((weights, columns, indptr), shape=(len(ranks), len(ranks)))
