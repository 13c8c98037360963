"""The k nearest neighbors of unit features by cosine similarity."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.distributed import ALONE, Workers
from glc.core.labels import as_tensor, as_unit_features, empty_rows
from glc.core.neighbors.approximate import compete, likely_neighbors, nothing_found
from glc.core.neighbors.similarity import pair_similarities
from glc.core.parameters import AT_LEAST_ONE, SEARCH, checked

EXACT_LIMIT = 50_000
"""Images up to which the default backend of :func:`knn_graph` is exact."""

# A float32 search is asked for this many neighbors beyond k, so that the k best of float64 are surely among them. Where
# the last one found is this close to the k-th (duplicates), they may not be: such rows are searched again in float64.
_MARGIN = 8
_TOLERANCE = 1e-5
_BLOCK_SIMILARITIES = 2**24  # 64 MiB
_DEVICE_SIMILARITIES = 2**29  # 2 GiB
_TILE_ROWS = 2**11
_ORDERED_ROWS = 2**12
_GROUP = 32


@dataclass(frozen=True)
class KNNGraph:
    """The k nearest neighbors of every image by cosine similarity.

    Args:
        indices: int64 tensor (N, k): neighbors of each image. Column 0 is the image itself, the others follow
            by falling similarity, equal ones by rising index.
        similarities: float32 tensor (N, k): their cosine similarities, in [-1, 1] up to rounding.

    Arrays, and other integer or float types, are converted.

    Raises:
        ValueError: They are not (N, k) both, or not numbers.

    Example:
        >>> graph = knn_graph(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), k=2)
        >>> graph.indices
        tensor([[0, 1],
                [1, 0],
                [2, 1]])
        >>> graph.num_nodes, graph.k
        (3, 2)
        >>> graph.first(1).numpy()[0]
        array([[0],
               [1],
               [2]])
    """

    indices: Tensor
    similarities: Tensor

    def __post_init__(self) -> None:
        indices, similarities = (
            as_tensor(self.indices, 'indices'),
            as_tensor(self.similarities, 'similarities'),
        )
        if indices.ndim != 2 or indices.shape != similarities.shape:
            raise ValueError(
                f'indices and similarities must be (N, k), got {tuple(indices.shape)} and {tuple(similarities.shape)}'
            )
        if indices.is_floating_point():
            raise ValueError(f'indices must be integers, got {indices.dtype}')
        object.__setattr__(self, 'indices', indices.to(torch.int64))
        object.__setattr__(self, 'similarities', similarities.to(torch.float32))

    @property
    def num_nodes(self) -> int:
        """Number of images N."""
        return len(self.indices)

    @property
    def k(self) -> int:
        """Number of neighbors per image, itself included."""
        return self.indices.shape[1]

    def first(self, k: int) -> KNNGraph:
        """Return the graph of the k nearest neighbors, or this one if it has no more."""
        return self if k >= self.k else KNNGraph(self.indices[:, :k], self.similarities[:, :k])

    def to(self, device: torch.device) -> KNNGraph:
        """Return the graph on a device."""
        return KNNGraph(self.indices.to(device), self.similarities.to(device))

    def numpy(self) -> tuple[np.ndarray, np.ndarray]:
        """Return indices and similarities as NumPy arrays."""
        return self.indices.cpu().numpy(), self.similarities.cpu().numpy()


@checked(k=AT_LEAST_ONE, **SEARCH, block_size=[*AT_LEAST_ONE, None], workers=[Workers])
def knn_graph(
    features: np.ndarray | Tensor,
    k: int,
    backend: str = 'auto',
    block_size: int | None = None,
    workers: Workers = ALONE,
) -> KNNGraph:
    """Find the k nearest neighbors by cosine similarity, exactly or, for very many images, nearly so.

    A backend proposes a few more than k candidates, in float32 or less. Their similarities are computed in float64 and
    rounded to float32, which fixes the order whatever library, thread count or block size did the search. So the
    exact backends give the same neighbors. The approximate one misses some: less than 1% of 30 neighbors on re-ID
    features, but most of them on features without clusters, such as noise. Its time grows little faster than N. What
    it finds depends on N, k, the features and the kind of processor only, except among more than k (nearly) equal
    images.

    Args:
        features: Features (N, D); rows are scaled to unit length first.
        k: Neighbors per image, itself included; with fewer than k images all N are returned.
        backend: ``'faiss'``: exact, on the features' GPU with faiss-gpu, else on the CPU.
            ``'torch'``: exact, blocks of matrix products on the features' device; on the CPU, half of them where one
            process searches for all images.
            ``'approximate'``: lists of similar images, on the features' device.
            ``'auto'``: approximate for more than :data:`EXACT_LIMIT` images, else torch.
        block_size: Images per block of the search (approximate: of the final ordering; torch on the CPU: rows and
            columns of a product); None makes blocks of 16 to 64 MiB of similarities.
        workers: Processes that share the search; each searches for its share of the images.

    Returns:
        The graph, with k clipped to N, on the device of the features.

    Raises:
        ValueError: ``k`` or ``block_size`` is below 1, the backend is unknown, or features are not finite.
        RuntimeError: ``backend='faiss'`` and faiss is not installed.
    """
    return unit_knn_graph(as_unit_features(features), k, backend, block_size, workers)


def unit_knn_graph(
    x: Tensor, k: int, backend: str = 'auto', block_size: int | None = None, workers: Workers = ALONE
) -> KNNGraph:
    """Do the work of :func:`knn_graph` for float32 unit features (N, D), which are not checked again."""
    backend = _resolve_backend(backend, len(x))
    share = workers.rows(len(x))
    rows = torch.arange(share.start, share.stop, device=x.device)
    own = _neighbors(x, rows, min(k, len(x)), backend, block_size)
    return KNNGraph(*(workers.gather_rows(part) for part in own))


def subgraph(graph: KNNGraph, x: Tensor, nodes: Tensor, k: int) -> KNNGraph:
    """Find the k nearest neighbors among some of the images, without a search where their graph knows them.

    Args:
        graph: kNN graph of N images.
        x: Their float32 unit features (N, D), on the device of the graph.
        nodes: Rising int64 indices (M,) of some images.
        k: Neighbors per image, itself included; with fewer than k images all M are returned.

    Returns:
        The graph of :func:`unit_knn_graph` for ``x[nodes]``; exact where the given one is.
    """
    place = torch.full((len(x),), -1, device=x.device)
    place[nodes] = torch.arange(len(nodes), device=x.device)
    candidates, similarities = place[graph.indices[nodes]], graph.similarities[nodes]
    k = min(k, len(nodes))
    rank = (candidates >= 0).cumsum(dim=1)
    known = rank[:, -1] >= k
    chosen = (candidates >= 0) & (rank <= k) & known[:, None]
    unknown = (~known).nonzero().squeeze(1)
    found = _neighbors(x[nodes], unknown, k, _resolve_backend('auto', len(nodes)), None)
    parts = []
    for part, searched in zip((candidates, similarities), found, strict=True):
        result = part.new_empty(len(nodes), k)
        result[known] = part[chosen].view(-1, k)
        result[unknown] = searched
        parts.append(result)
    return KNNGraph(*parts)


def euclidean_graph(x: Tensor, k: int) -> KNNGraph:
    """Find the k nearest rows by Euclidean distance, for features that are not of unit length.

    Args:
        x: float32 features (N, D), finite.
        k: Neighbors per image, itself included; with fewer than k images all N are returned.

    Returns:
        The graph, exact: distances are computed in float64. Its similarities are inner products, and need not fall.
    """
    wide = x.double()
    half_squares = (wide * wide).sum(dim=1) / 2
    found = []
    for rows in torch.arange(len(x), device=x.device).split(max(64, _BLOCK_SIMILARITIES // (2 * len(x)))):
        products = wide[rows] @ wide.T
        nearness = (products - half_squares).scatter(1, rows[:, None], torch.inf)  # itself first
        indices = nearness.topk(min(k, len(x)), dim=1).indices
        found.append((indices, products.gather(1, indices)))
    return KNNGraph(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def neighbor_matrix(indices: np.ndarray, values: np.ndarray) -> sparse.csr_array:
    """Make a sparse matrix (N, N) of the ``values`` (N, k) at the neighbors ``indices`` (N, k) of every row."""
    num_nodes, k = indices.shape
    indptr = np.arange(num_nodes + 1) * k
    matrix = sparse.csr_array(
        (values.ravel(), indices.ravel(), indptr), shape=(num_nodes, num_nodes), copy=True
    )
    matrix.sort_indices()
    return matrix


def _neighbors(
    x: Tensor, rows: Tensor, k: int, backend: str, block_size: int | None
) -> tuple[Tensor, Tensor]:
    """Find the neighbors of the ``rows`` (R,): indices and similarities (R, k) as KNNGraph has them."""
    width = min(k + _MARGIN, len(x))
    if backend == 'approximate':
        candidates = likely_neighbors(x, rows, width)
        chosen = (
            (block, *_ordered_neighbors(x, rows[block], candidates[block].long(), k))
            for block in _blocks_that_share(candidates, block_size or _ORDERED_ROWS)
        )
    else:
        proposed = _exact_candidates(x, rows, width, backend, block_size)
        chosen = (
            (block, *_first_neighbors(x, rows[block], found, images, k)) for block, found, images in proposed
        )
    indices = empty_rows(x, len(rows), k, dtype=torch.int64)
    similarities = empty_rows(x, len(rows), k)
    for block, block_indices, block_similarities in chosen:
        indices[block] = block_indices
        similarities[block] = block_similarities
    return indices, similarities


def _exact_candidates(
    x: Tensor, rows: Tensor, count: int, backend: str, block_size: int | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Compare each of the ``rows`` (R,) with all images in float32, and yield blocks of the result.

    Yields:
        Places in ``rows`` (B,), similarities (B, count) of the nearest images, falling, and the images, int64.
    """
    on_cpu = x.device.type == 'cpu'
    if backend == 'torch' and on_cpu:
        similarities, images = _compared_in_tiles(x, rows, count, block_size or _TILE_ROWS)
        for block in _blocks_that_share(images, _ORDERED_ROWS):
            yield block, similarities[block], images[block].long()
        return
    block_size = block_size or max(64, (_BLOCK_SIMILARITIES if on_cpu else _DEVICE_SIMILARITIES) // len(x))
    search = _searcher(x, backend)
    for block in torch.arange(len(rows), device=x.device).split(block_size):
        yield block, *search(x[rows[block]], count)


def _compared_in_tiles(x: Tensor, rows: Tensor, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Compare each of the ``rows`` (R,), which rise, with all images, in products of ``size`` x ``size``, on the CPU.

    Where the rows are all images, a product serves its rows and its columns, so half of them are enough.

    Returns:
        float32 similarities (R, count) of the nearest images, falling, and the images, int32.
    """
    best, found = nothing_found(x, len(rows), count)
    tiles = torch.arange(len(x), dtype=torch.int32).split(size)
    halved = len(rows) == len(x)
    for number, block in enumerate(torch.arange(len(rows)).split(size)):
        queries = x[rows[block]]
        for images in tiles[number:] if halved else tiles:
            similarities = queries @ x[images[0] : images[-1] + 1].T
            compete(best, found, block, similarities, images)
            if halved and images[0] > block[0]:
                compete(best, found, images.long(), similarities.T.contiguous(), block.int())
    order = best.argsort(dim=1, descending=True)
    return best.gather(1, order), found.gather(1, order)


def _blocks_that_share(candidates: Tensor, size: int) -> tuple[Tensor, ...]:
    """Put rows that share candidates (R, W) one after the other, so that these are in the cache, and split them."""
    return candidates.min(dim=1).values.argsort(stable=True).split(size)


def _resolve_backend(backend: str, num_nodes: int) -> str:
    if backend == 'faiss' and importlib.util.find_spec('faiss') is None:
        raise RuntimeError("backend='faiss' needs faiss: pip install faiss-cpu, or use backend='torch'")
    if backend != 'auto':
        return backend
    return 'approximate' if num_nodes > EXACT_LIMIT else 'torch'


def _searcher(x: Tensor, backend: str) -> Callable[[Tensor, int], tuple[Tensor, Tensor]]:
    """Return a function (queries, count) -> float32 similarities and indices of the nearest rows of ``x``."""
    if backend == 'torch':
        return lambda queries, count: _largest(queries @ x.T, count)
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


def _largest(similarities: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the ``count`` largest values of every row (B, N), falling, and their columns.

    They lie in the groups of columns with the largest maxima, which are found in one pass.
    """
    num_groups = similarities.shape[1] // _GROUP
    if num_groups < _GROUP * count // 4:
        return similarities.topk(count, dim=1)
    grouped = similarities[:, : num_groups * _GROUP].unflatten(1, (num_groups, _GROUP))
    groups = grouped.amax(dim=2).topk(count, dim=1).indices
    columns = (groups[:, :, None] * _GROUP + torch.arange(_GROUP, device=groups.device)).flatten(1)
    rest = torch.arange(num_groups * _GROUP, similarities.shape[1], device=groups.device)
    columns = torch.cat([columns, rest.expand(len(groups), -1)], dim=1)
    values, places = similarities.gather(1, columns).topk(count, dim=1)
    return values, columns.gather(1, places)


def _first_neighbors(
    x: Tensor, rows: Tensor, found: Tensor, candidates: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Choose the k neighbors of each of the ``rows`` (B,) from the result (B, W) of an exact float32 search.

    Returns:
        Indices and similarities (B, k) in the order that KNNGraph promises.
    """
    indices, similarities = _ordered_neighbors(x, rows, candidates, k)
    tied = similarities[:, -1] <= found[:, -1] + _TOLERANCE
    if candidates.shape[1] < len(x) and tied.any():
        everyone = torch.arange(len(x), device=x.device).expand(int(tied.sum()), -1)
        exact = (x[rows[tied]].double() @ x.double().T).float()
        indices[tied], similarities[tied] = _sorted_prefix(rows[tied], everyone, exact, k)
    return indices, similarities


def _ordered_neighbors(x: Tensor, rows: Tensor, candidates: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Choose the k best of the candidates (B, W), which come in falling similarity, by their exact similarities.

    A row that is not among its candidates takes the place of the last.
    """
    self_missing = (candidates != rows[:, None]).all(dim=1)
    last = torch.where(self_missing, rows, candidates[:, -1])
    candidates = torch.cat([candidates[:, :-1], last[:, None]], dim=1).sort(dim=1).values
    width = candidates.shape[1]
    exact = pair_similarities(x, rows.repeat_interleave(width), candidates.flatten()).view(-1, width)
    return _sorted_prefix(rows, candidates, exact, k)


def _sorted_prefix(rows: Tensor, candidates: Tensor, similarities: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k most similar candidates (B, W), the row itself first; ties keep the order of the candidates."""
    priority = similarities.masked_fill(candidates == rows[:, None], torch.inf)
    order = priority.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return candidates.gather(1, order), similarities.gather(1, order)
