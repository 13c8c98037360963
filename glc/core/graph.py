"""Exact k-nearest-neighbour graph of unit features, and the adjacency a graph network reads from it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.labels import as_unit_features

# A float32 search is asked for this many neighbours beyond k, so that it surely finds the k best of float64,
# unless the last one found is this close to the k-th: such rows (duplicates) are searched again in float64.
_MARGIN = 8
_TOLERANCE = 1e-5
_BLOCK_SIMILARITIES = 2**24  # 64 MiB
_BLOCK_PAIR_VALUES = 2**20  # 8 MiB in float64: about a core's cache


@dataclass(frozen=True)
class KNNGraph:
    """The k nearest neighbours of every image by cosine similarity.

    Args:
        indices: int64 array (N, k): neighbours of each image. Column 0 is the image itself, the others follow
            by falling similarity, equal ones by rising index.
        similarities: float32 array (N, k): their cosine similarities, in [-1, 1] up to rounding.

    Example:
        >>> graph = knn_graph(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), k=2)
        >>> graph.indices
        array([[0, 1],
               [1, 0],
               [2, 1]])
        >>> graph.num_nodes, graph.k
        (3, 2)
    """

    indices: np.ndarray
    similarities: np.ndarray

    @property
    def num_nodes(self) -> int:
        """Number of images N."""
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Number of neighbours per image, itself included."""
        return int(self.indices.shape[1])


def knn_graph(
    features: np.ndarray | Tensor, k: int, backend: str = 'auto', block_size: int | None = None
) -> KNNGraph:
    """Exact k nearest neighbours by cosine similarity; the backends give the same neighbours.

    A backend proposes a few more than k candidates in float32. Their similarities are computed in float64 and
    rounded to float32, which fixes the order whatever library, thread count or block size did the search.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        k: Neighbours per image, itself included; with fewer than k images all N are returned.
        backend: 'faiss' (exact flat index on the CPU), 'torch' (blocks of matrix products on the features'
            device), or 'auto': faiss where it is installed and the features are on the CPU, else torch.
            On macOS 'auto' is torch, because the OpenMP libraries of the two wheels crash each other there.
        block_size: Images per block of the search; None makes blocks of about 64 MiB of similarities.

    Returns:
        The graph, with k clipped to N.

    Raises:
        ValueError: ``k`` or ``block_size`` is below 1, the backend is unknown, or features are not finite.
        RuntimeError: ``backend='faiss'`` and faiss is not installed.
    """
    if k < 1:
        raise ValueError(f'k must be at least 1 (the image itself), got {k}')
    if block_size is not None and block_size < 1:
        raise ValueError(f'block_size must be at least 1, got {block_size}')
    x = as_unit_features(features)
    search = _searcher(x, _resolve_backend(backend, x.device))
    num_nodes = len(x)
    k = min(k, num_nodes)
    width = min(k + _MARGIN, num_nodes)
    block_size = block_size or max(64, _BLOCK_SIMILARITIES // num_nodes)
    indices = np.empty((num_nodes, k), np.int64)
    similarities = np.empty((num_nodes, k), np.float32)
    for rows in torch.arange(num_nodes, device=x.device).split(block_size):
        found, candidates = search(x[rows], width)
        chosen = _first_neighbours(x, rows, found, candidates, k)
        block = slice(int(rows[0]), int(rows[-1]) + 1)
        indices[block], similarities[block] = (part.cpu().numpy() for part in chosen)
    return KNNGraph(indices, similarities)


def normalized_adjacency(graph: KNNGraph) -> sparse.csr_array:
    """Row-normalised adjacency of a kNN graph, the ``A`` of graph label correction's convolution.

    Edge weights are the similarities clipped to [0, 1], without self loops; the graph is made symmetric with
    the element-wise maximum, the identity is added, and every row is divided by its sum.

    Args:
        graph: kNN graph of N images.

    Returns:
        float32 sparse matrix (N, N) with rows that sum to 1.
    """
    num_nodes = graph.num_nodes
    is_self = graph.indices == np.arange(num_nodes)[:, None]
    adjacency = neighbour_matrix(
        graph.indices, np.where(is_self, np.float32(0), graph.similarities.clip(0, 1))
    )
    adjacency = adjacency.maximum(adjacency.T) + sparse.eye_array(num_nodes, dtype=np.float32, format='csr')
    adjacency.eliminate_zeros()
    adjacency.sort_indices()
    sums = adjacency.sum(axis=1)
    adjacency.data /= np.repeat(sums, np.diff(adjacency.indptr))
    return adjacency


def neighbour_matrix(indices: np.ndarray, values: np.ndarray) -> sparse.csr_array:
    """Sparse matrix (N, N) that holds ``values`` (N, k) at the neighbours ``indices`` (N, k) of every row."""
    num_nodes, k = indices.shape
    indptr = np.arange(num_nodes + 1) * k
    matrix = sparse.csr_array(
        (values.ravel(), indices.ravel(), indptr), shape=(num_nodes, num_nodes), copy=True
    )
    matrix.sort_indices()
    return matrix


def pair_similarities(features: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Dot products of listed pairs of rows, summed in float64 and rounded to float32.

    Args:
        features: float32 tensor (N, D).
        rows: First image of every pair, int64 tensor (P,).
        columns: Second image of every pair, int64 tensor (P,).

    Returns:
        float32 tensor (P,); the value of a pair depends on nothing but its two rows.
    """
    pairs_per_block = max(1, _BLOCK_PAIR_VALUES // features.shape[1])
    result = torch.empty(len(rows), device=features.device)
    blocks = (x.split(pairs_per_block) for x in (rows, columns, result))
    for i, j, similarities in zip(*blocks, strict=True):
        similarities.copy_((features[i].double() * features[j].double()).sum(dim=1))
    return result


def _resolve_backend(backend: str, device: torch.device) -> str:
    if backend not in ('auto', 'faiss', 'torch'):
        raise ValueError(f"backend must be 'auto', 'faiss' or 'torch', got {backend!r}")
    has_faiss = importlib.util.find_spec('faiss') is not None
    if backend == 'faiss' and not has_faiss:
        raise RuntimeError("backend='faiss' needs faiss: pip install faiss-cpu, or use backend='torch'")
    if backend == 'auto':
        return 'faiss' if has_faiss and device.type == 'cpu' and sys.platform != 'darwin' else 'torch'
    return backend


def _searcher(x: Tensor, backend: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """A function (queries, count) -> float32 similarities and indices of the nearest rows of ``x``."""
    if backend == 'torch':
        return lambda queries, count: (queries @ x.T).topk(count, dim=1)
    faiss = importlib.import_module('faiss')
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x.cpu().numpy())

    def search(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        similarities, indices = index.search(queries.cpu().numpy(), count)
        return torch.from_numpy(similarities).to(x.device), torch.from_numpy(indices).to(x.device)

    return search


def _first_neighbours(
    x: Tensor, rows: Tensor, found: Tensor, candidates: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Choose the k neighbours of each of the ``rows`` (B,) from the result (B, W) of a float32 search.

    Returns:
        Indices and similarities (B, k) in the order that KNNGraph promises.
    """
    self_missing = (candidates != rows[:, None]).all(dim=1)
    candidates[self_missing, -1] = rows[self_missing]
    candidates = candidates.sort(dim=1).values
    width = candidates.shape[1]
    exact = pair_similarities(x, rows.repeat_interleave(width), candidates.flatten()).view(-1, width)
    indices, similarities = _sorted_prefix(rows, candidates, exact, k)
    tied = similarities[:, -1] <= found[:, -1] + _TOLERANCE
    if width < len(x) and tied.any():
        everyone = torch.arange(len(x), device=x.device).expand(int(tied.sum()), -1)
        exact = (x[rows[tied]].double() @ x.double().T).float()
        indices[tied], similarities[tied] = _sorted_prefix(rows[tied], everyone, exact, k)
    return indices, similarities


def _sorted_prefix(rows: Tensor, candidates: Tensor, similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most similar candidates (B, W), the row itself first; ties keep the order of the candidates."""
    priority = similarities.masked_fill(candidates == rows[:, None], torch.inf)
    order = priority.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return candidates.gather(1, order), similarities.gather(1, order)
