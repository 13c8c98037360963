"""k-reciprocal Jaccard distance, sparse.

Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017,
without dense matrices.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.graph import KNNGraph, knn_graph, neighbour_matrix, pair_similarities
from glc.core.labels import as_unit_features

_BLOCK_TERMS = 2**21  # 16 MiB in float64
_TINY = np.finfo(np.float32).tiny


def jaccard_distance(
    features: np.ndarray | Tensor,
    k1: int = 30,
    k2: int = 6,
    max_distance: float = 1.0,
    graph: KNNGraph | None = None,
) -> sparse.csr_array:
    """Jaccard distance between the k-reciprocal neighbour sets of all images.

    With rank(i) the first k1 neighbours of i, itself first, and half(i) the first round(k1 / 2) + 1 of them:

    1. R(i) holds the j in rank(i) with i in rank(j); H(i) the same with half.
    2. E(i) is R(i) and every H(j), j in R(i), of which more than 2/3 lie in R(i).
    3. V(i, j) is the softmax over j in E(i) of -(2 - 2 <x_i, x_j>), 0 elsewhere.
    4. V(i) becomes the mean of V over the first k2 entries of rank(i).
    5. d(i, j) = 1 - s / (2 - s) with s = sum_l min(V(i, l), V(j, l)).

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        k1: Neighbours, with itself, among which reciprocal ones are looked for; all if there are fewer.
        k2: Neighbours, with itself, over which V is averaged; at most k1.
        max_distance: Larger distances are left out; 1 keeps every distance below 1.
        graph: kNN graph of these features with at least min(k1, N) columns; None computes it.

    Returns:
        Symmetric float32 matrix (N, N) of the distances <= ``max_distance``; an absent entry is farther apart
        (or, with ``max_distance=1``, exactly 1). The diagonal is present. Zero distances are stored as a tiny
        positive number, as sparse neighbour searches treat only stored entries as neighbours.

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
    if not 1 <= k2 <= k1:
        raise ValueError(f'k1 and k2 must satisfy 1 <= k2 <= k1, got k1={k1}, k2={k2}')
    if not 0 <= max_distance <= 1:
        raise ValueError(f'max_distance must lie in [0, 1], got {max_distance}')
    x = as_unit_features(features)
    if graph is None:
        graph = knn_graph(x, k1)
    if graph.num_nodes != len(x) or graph.k < min(k1, len(x)):
        raise ValueError(
            f'the graph has {graph.num_nodes} images and {graph.k} neighbours, '
            f'but the features have {len(x)} images and k1={k1}'
        )
    ranks = graph.indices[:, :k1]
    reciprocal = _mutual(ranks)
    half_reciprocal = _mutual(ranks[:, : round(k1 / 2) + 1])
    expanded = _expand(reciprocal, half_reciprocal)
    nearest = ranks[:, :k2]
    average = neighbour_matrix(nearest, np.full(nearest.shape, 1 / nearest.shape[1]))
    encoding = average @ _gaussian_weights(x, expanded)
    return _distances(encoding, max_distance)


def _mutual(ranks: np.ndarray) -> sparse.csr_array:
    """0/1 matrix of the pairs (i, j) where each is in the other's row of ``ranks``; symmetric."""
    listed = neighbour_matrix(ranks, np.ones(ranks.shape, np.int32))
    return listed.multiply(listed.T).tocsr()


def _expand(reciprocal: sparse.csr_array, half: sparse.csr_array) -> sparse.csr_array:
    """Sparsity pattern of E from R and H (both symmetric 0/1 matrices)."""
    overlap = (reciprocal @ half).multiply(reciprocal).tocsr()  # |H(j) n R(i)| at every j in R(i)
    half_sizes = half.sum(axis=0)
    overlap.data = (3 * overlap.data > 2 * half_sizes[overlap.indices]).astype(np.int32)
    overlap.eliminate_zeros()
    return (reciprocal + overlap @ half).tocsr()


def _gaussian_weights(x: Tensor, expanded: sparse.csr_array) -> sparse.csr_array:
    """V on the pattern of E: float64 rows that sum to 1."""
    sizes = np.diff(expanded.indptr)
    rows = np.repeat(np.arange(len(x)), sizes)
    pairs = (torch.from_numpy(side.astype(np.int64)).to(x.device) for side in (rows, expanded.indices))
    weights = np.exp(2 * pair_similarities(x, *pairs).cpu().numpy().astype(np.float64) - 2)
    weights /= np.repeat(np.add.reduceat(weights, expanded.indptr[:-1]), sizes)
    return sparse.csr_array((weights, expanded.indices, expanded.indptr), shape=expanded.shape)


def _distances(encoding: sparse.csr_array, max_distance: float) -> sparse.csr_array:
    """Distances <= ``max_distance`` between the rows of V, by an inverted list of the images of a column."""
    num_images = encoding.shape[0]
    number = np.arange(encoding.nnz)
    by_column = sparse.csr_array((number, encoding.indices, encoding.indptr), shape=encoding.shape).tocsc()
    images, weights = by_column.indices, encoding.data[by_column.data]
    # Entry (i, l) of V meets the entries of column l that follow it: the images j > i that share l.
    first = np.empty_like(number)
    first[by_column.data] = number + 1
    counts = by_column.indptr[1:][encoding.indices] - first
    row_ends = np.concatenate([[0], counts.cumsum()])[encoding.indptr]
    block_starts = np.unique(np.searchsorted(row_ends[:-1], np.arange(0, row_ends[-1] + 1, _BLOCK_TERMS)))

    blocks = []
    for start, stop in zip(block_starts, [*block_starts[1:], num_images], strict=True):
        entries = slice(encoding.indptr[start], encoding.indptr[stop])
        repeats = counts[entries]
        met = np.arange(repeats.sum()) + np.repeat(first[entries] - repeats.cumsum() + repeats, repeats)
        minima = np.minimum(np.repeat(encoding.data[entries], repeats), weights[met])
        indptr = row_ends[start : stop + 1] - row_ends[start]
        block = sparse.csr_array((minima, images[met], indptr), shape=(stop - start, num_images))
        block.sum_duplicates()
        distance = (1 - block.data / (2 - block.data)).astype(np.float32)
        block.data = np.where(distance <= max_distance, distance.clip(_TINY), 0)
        block.eliminate_zeros()
        blocks.append(block)
    upper = sparse.vstack(blocks, format='csr')
    diagonal = sparse.diags_array(np.full(num_images, _TINY), format='csr')
    return (upper + upper.T + diagonal).tocsr()
