"""k-nearest-neighbour graph of unit features, and the adjacency a graph network reads from it."""

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

from glc.core.approximate import likely_neighbours
from glc.core.labels import as_unit_features
from glc.core.sharding import gather_rows, own_rows
from glc.core.similarity import pair_similarities

EXACT_LIMIT = 50_000
"""Images up to which the default backend of :func:`knn_graph` is exact."""

# A float32 search is asked for this many neighbours beyond k, so that it surely finds the k best of float64,
# unless the last one found is this close to the k-th: such rows (duplicates) are searched again in float64.
_MARGIN = 8
_TOLERANCE = 1e-5
_BLOCK_SIMILARITIES = 2**24  # 64 MiB
_ORDERED_ROWS = 2**12


@dataclass(frozen=True)
class KNNGraph:
    """The k nearest neighbours of every image by cosine similarity.

    Args:
        indices: int64 array (N, k): neighbours of each image. Column 0 is the image itself, the others follow
            by falling similarity, equal ones by rising index.
        similarities: float32 array (N, k): their cosine similarities, in [-1, 1] up to rounding.

    The arrays are NumPy's, or tensors on the device of the features where that is not the CPU.

    Example:
        >>> graph = knn_graph(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), k=2)
        >>> graph.indices
        array([[0, 1],
               [1, 0],
               [2, 1]])
        >>> graph.num_nodes, graph.k
        (3, 2)
    """

    indices: np.ndarray | Tensor
    similarities: np.ndarray | Tensor

    @property
    def num_nodes(self) -> int:
        """Number of images N."""
        return int(self.indices.shape[0])

    @property
    def k(self) -> int:
        """Number of neighbours per image, itself included."""
        return int(self.indices.shape[1])

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices and similarities in NumPy."""
        indices, similarities = self.tensors(torch.device('cpu'))
        return indices.numpy(), similarities.numpy()

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Indices and similarities on a device."""
        return torch.as_tensor(self.indices).to(device), torch.as_tensor(self.similarities).to(device)


def knn_graph(
    features: np.ndarray | Tensor, k: int, backend: str = 'auto', block_size: int | None = None
) -> KNNGraph:
    """The k nearest neighbours by cosine similarity, exact or, of very many images, nearly so.

    Within :func:`glc.core.sharding.shared_work`, every process searches for its share of the images.

    A backend proposes a few more than k candidates in float32. Their similarities are computed in float64 and
    rounded to float32, which fixes the order whatever library, thread count or block size did the search. So the
    exact backends give the same neighbours. The approximate one misses some (less than 1% of 30 neighbours on
    re-ID features, but most of them on features without clusters, such as noise); its time grows little faster
    than N. What it finds depends on N and the features only, except among more than k (nearly) equal images.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        k: Neighbours per image, itself included; with fewer than k images all N are returned.
        backend: 'faiss' (exact; on the features' GPU with faiss-gpu, else on the CPU), 'torch' (exact, blocks of
            matrix products on the features' device), 'approximate' (lists of similar images, on the features'
            device), or 'auto': approximate for more than :data:`EXACT_LIMIT` images, else faiss where it is
            installed and the features are on the CPU, else torch. On macOS 'auto' does not take faiss, because the
            OpenMP libraries of the two wheels crash each other there.
        block_size: Images per block of the search (approximate: of the final ordering); None makes blocks of
            about 64 MiB of similarities.

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
    backend = _resolve_backend(backend, x.device, len(x))
    share = own_rows(len(x))
    rows = torch.arange(share.start, share.stop, device=x.device)
    own = _neighbours(x, rows, min(k, len(x)), backend, block_size)
    return as_graph(*(gather_rows(part) for part in own))


def as_graph(indices: Tensor, similarities: Tensor) -> KNNGraph:
    """A graph of tensors (N, k), as :class:`KNNGraph` has them on their device."""
    if indices.device.type == 'cpu':
        return KNNGraph(indices.numpy(), similarities.numpy())
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
    indices, similarities = graph.arrays()
    is_self = indices == np.arange(num_nodes)[:, None]
    adjacency = neighbour_matrix(indices, np.where(is_self, np.float32(0), similarities.clip(0, 1)))
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


def _neighbours(
    x: Tensor, rows: Tensor, k: int, backend: str, block_size: int | None
) -> tuple[Tensor, Tensor]:
    """Indices and similarities (R, k) of the neighbours of the ``rows`` (R,), as KNNGraph has them."""
    width = min(k + _MARGIN, len(x))
    if backend == 'approximate':
        candidates = likely_neighbours(x, rows, width)
        blocks = zip(*(part.split(block_size or _ORDERED_ROWS) for part in (rows, candidates)), strict=True)
        chosen = (_ordered_neighbours(x, block, likely.long(), k) for block, likely in blocks)
    else:
        search = _searcher(x, backend)
        block_size = block_size or max(64, _BLOCK_SIMILARITIES // len(x))
        chosen = (
            _first_neighbours(x, block, *search(x[block], width), k) for block in rows.split(block_size)
        )
    indices = torch.empty(len(rows), k, dtype=torch.int64, device=x.device)
    similarities = torch.empty(len(rows), k, device=x.device)
    start = 0
    for block_indices, block_similarities in chosen:
        stop = start + len(block_indices)
        indices[start:stop] = block_indices
        similarities[start:stop] = block_similarities
        start = stop
    return indices, similarities


def _resolve_backend(backend: str, device: torch.device, num_nodes: int) -> str:
    if backend not in ('auto', 'faiss', 'torch', 'approximate'):
        raise ValueError(f"backend must be 'auto', 'faiss', 'torch' or 'approximate', got {backend!r}")
    has_faiss = importlib.util.find_spec('faiss') is not None
    if backend == 'faiss' and not has_faiss:
        raise RuntimeError("backend='faiss' needs faiss: pip install faiss-cpu, or use backend='torch'")
    if backend != 'auto':
        return backend
    if num_nodes > EXACT_LIMIT:
        return 'approximate'
    return 'faiss' if has_faiss and device.type == 'cpu' and sys.platform != 'darwin' else 'torch'


def _searcher(x: Tensor, backend: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """A function (queries, count) -> float32 similarities and indices of the nearest rows of ``x``."""
    if backend == 'torch':
        return lambda queries, count: (queries @ x.T).topk(count, dim=1)
    faiss = importlib.import_module('faiss')
    if x.device.type != 'cpu' and hasattr(faiss, 'StandardGpuResources'):
        importlib.import_module('faiss.contrib.torch_utils')  # lets knn_gpu take tensors
        resources = faiss.StandardGpuResources()
        metric, device = faiss.METRIC_INNER_PRODUCT, x.get_device()
        return lambda queries, count: faiss.knn_gpu(
            resources, queries, x, count, metric=metric, device=device
        )
    index = faiss.IndexFlatIP(x.shape[1])
    index.add(x.cpu().numpy())

    def search(queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
        similarities, indices = index.search(queries.cpu().numpy(), count)
        return torch.from_numpy(similarities).to(x.device), torch.from_numpy(indices).to(x.device)

    return search


def _first_neighbours(
    x: Tensor, rows: Tensor, found: Tensor, candidates: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Choose the k neighbours of each of the ``rows`` (B,) from the result (B, W) of an exact float32 search.

    Returns:
        Indices and similarities (B, k) in the order that KNNGraph promises.
    """
    indices, similarities = _ordered_neighbours(x, rows, candidates, k)
    tied = similarities[:, -1] <= found[:, -1] + _TOLERANCE
    if candidates.shape[1] < len(x) and tied.any():
        everyone = torch.arange(len(x), device=x.device).expand(int(tied.sum()), -1)
        exact = (x[rows[tied]].double() @ x.double().T).float()
        indices[tied], similarities[tied] = _sorted_prefix(rows[tied], everyone, exact, k)
    return indices, similarities


def _ordered_neighbours(x: Tensor, rows: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k best of the candidates (B, W), which come in falling similarity, and their exact similarities.

    A row that is not among its candidates takes the place of the last.
    """
    self_missing = (candidates != rows[:, None]).all(dim=1)
    last = torch.where(self_missing, rows, candidates[:, -1])
    candidates = torch.cat([candidates[:, :-1], last[:, None]], dim=1).sort(dim=1).values
    width = candidates.shape[1]
    exact = pair_similarities(x, rows.repeat_interleave(width), candidates.flatten()).view(-1, width)
    return _sorted_prefix(rows, candidates, exact, k)


def _sorted_prefix(rows: Tensor, candidates: Tensor, similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most similar candidates (B, W), the row itself first; ties keep the order of the candidates."""
    priority = similarities.masked_fill(candidates == rows[:, None], torch.inf)
    order = priority.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return candidates.gather(1, order), similarities.gather(1, order)
