"""The k-reciprocal Jaccard distance in torch, on the device of its tensors.

:mod:`glc.core.neighbors.jaccard_numba` does the same on CPUs.

A device adds in no fixed order. So numbers in [0, 1] are summed as integers, multiples of 2**-60: nothing is rounded,
and the result is the same in any order and on any device. Work is done in blocks of about :data:`BLOCK_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glc.core.neighbors.jaccard_numba import Rows
from glc.core.neighbors.similarity import pair_similarities

BLOCK_BYTES = 2**28
"""Device memory of a block of rows; one row may need more."""

_ITEM_BYTES = 64  # of everything that is held of one candidate or product of a block at a time
_CELL_BYTES = 16  # of a pair of images in the sums
_ONE = 2.0**60


class CompressedRows(NamedTuple):
    """Sparse matrix (N, N) by rows, on the device of its tensors.

    Args:
        starts: int64 (N + 1,): row i has the entries ``starts[i]`` to ``starts[i + 1]``.
        columns: int32 (E,), rising within each row.
        values: float32 or float64 (E,).
    """

    starts: Tensor
    columns: Tensor
    values: Tensor


class _Lists(NamedTuple):
    """The entries of a matrix by columns, and where the matrix by rows finds them.

    Args:
        ends: int64 (N,), end of every column.
        rows: int32 (E,), rising within each column.
        values: float32 (E,).
        following: int64 (E,): for every entry by rows, the place by columns after its own, which is where its column
            goes on with the rows after its row.
    """

    ends: Tensor
    rows: Tensor
    values: Tensor
    following: Tensor


def encode_rows(
    features: Tensor,
    ranks: Tensor,
    k1: int,
    k2: int,
    half: int | None = None,
    scale: np.ndarray | None = None,
    power: float = 1.0,
) -> CompressedRows:
    """Compute the V of :func:`glc.core.neighbors.jaccard.jaccard_distance`, after query expansion.

    Args:
        features: Unit rows (N, D), float32.
        ranks: int32 neighbors (N, K) of every image, itself first, on the device of the features.
        k1: Neighbors among which reciprocal ones are looked for; K if there are fewer.
        k2: Neighbors over which V is averaged.
        half: See :func:`glc.core.neighbors.jaccard.reciprocal_encodings`.
        scale: See :func:`glc.core.neighbors.jaccard.reciprocal_encodings`.
        power: See :func:`glc.core.neighbors.jaccard.reciprocal_encodings`.

    Returns:
        float32 rows that sum to 1.
    """
    halved = ranks[:, : min(round(k1 / 2) + 1 if half is None else half, k1)]
    divisors = torch.ones(len(ranks)) if scale is None else torch.from_numpy(scale)
    weights = _gaussian_sets(features, ranks[:, :k1], halved, divisors.to(features.device), power)
    return _averaged(weights, ranks[:, :k2])


def near_pairs(encodings: list[CompressedRows], max_distance: float, rows: range) -> Iterator[Rows]:
    """Do the work of :func:`glc.core.neighbors.jaccard_numba.mean_distances` for ``rows``, block by block.

    Args:
        encodings: S matrices (N, N) whose rows sum to 1, of values of at least 2**-36, on one device.
        max_distance: Larger distances are left out, and those of pairs that no matrix joins.
        rows: The i of the pairs i < j.

    Yields:
        Number of kept j (B,) of the next B rows; the j, rising within each row; their float32 distances: in NumPy.
    """
    num_images = len(encodings[0].starts) - 1
    lists = [_by_column(encoding) for encoding in encodings]
    blocks = list(_blocks(rows, _CELL_BYTES * num_images))
    cells = max((len(block) for block in blocks), default=0) * num_images
    shared = torch.zeros(cells, dtype=torch.int64, device=encodings[0].starts.device)
    means = torch.zeros_like(shared, dtype=torch.float64)
    for block in blocks:
        for matrix, columns in zip(encodings, lists, strict=True):
            _add_shared(shared, matrix, columns, block)
            met = shared.nonzero().squeeze(1)
            sums = shared[met].double() / _ONE
            means[met] += sums / (2 - sums) / len(encodings)
            shared[met] = 0
        met = means.nonzero().squeeze(1)
        distances = (1 - means[met]).float()
        means[met] = 0
        near = distances <= max_distance
        met = met[near]
        sizes = (met // num_images).bincount(minlength=len(block))
        parts = (sizes, (met % num_images).int(), distances[near])
        counts, columns_, kept = (part.cpu().numpy() for part in parts)
        yield counts, columns_, kept


def _gaussian_sets(
    features: Tensor, ranks: Tensor, halved: Tensor, scale: Tensor, power: float
) -> CompressedRows:
    """Compute V before query expansion: the expanded sets, with float64 weights that sum to 1."""
    near, half = _mutual(ranks), _mutual(halved)
    parts = []
    for block in _blocks(range(len(ranks)), _ITEM_BYTES * near.shape[1] * (half.shape[1] + 1)):
        members, distinct = _expanded(near[block.start : block.stop], half)
        rows, columns = distinct.nonzero()[:, 0] + block.start, members[distinct]
        scores = torch.full(members.shape, -torch.inf, dtype=torch.float64, device=ranks.device)
        similarities = pair_similarities(features, rows, columns, dtype=torch.float64)
        distances = (2 - 2 * similarities) / scale[rows]
        scores[distinct] = -(distances if power == 1 else distances.clamp(min=0) ** power)
        parts.append((distinct.sum(dim=1), columns, scores.softmax(dim=1)[distinct]))
    return _joined(parts)


def _mutual(ranks: Tensor) -> Tensor:
    """Return the neighbors (N, k) of every image that have it among theirs, and -1 in the place of others."""
    mutual = torch.empty_like(ranks)
    for block in _blocks(range(len(ranks)), _ITEM_BYTES // 4 * ranks.shape[1] ** 2):
        own = ranks[block.start : block.stop]
        images = torch.arange(block.start, block.stop, device=ranks.device)
        knows = (ranks[own] == images[:, None, None]).any(dim=2)
        mutual[block.start : block.stop] = own.where(knows, -1)
    return mutual


def _expanded(near: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    """Join every R(i) with the H(j), j in R(i), of which more than two thirds lie in R(i).

    Args:
        near: The R(i) (B, k) of some images, -1 = none.
        half: The H(j) (N, h) of all images, -1 = none.

    Returns:
        Rising images (B, k + k h), and which of them to take: once each, and not -1.
    """
    near = near.sort(dim=1).values
    far = half[near].masked_fill(near[:, :, None] < 0, -1)
    place = torch.searchsorted(near, far.flatten(1)).clamp(max=near.shape[1] - 1)
    inside = near.gather(1, place).view_as(far) == far
    known = far >= 0
    joins = 3 * (inside & known).sum(dim=2) > 2 * known.sum(dim=2)
    far = far.masked_fill(~joins[:, :, None], -1)
    members = torch.cat([near, far.flatten(1)], dim=1).sort(dim=1).values
    distinct = members >= 0
    distinct[:, 1:] &= members[:, 1:] != members[:, :-1]
    return members, distinct


def _averaged(weights: CompressedRows, nearest: Tensor) -> CompressedRows:
    """Average the rows ``nearest`` (N, k) of a matrix of float64 rows that sum to 1, in float32."""
    num_images, k = nearest.shape
    sizes = weights.starts.diff()
    parts = []
    for block in _blocks(range(num_images), _ITEM_BYTES * k * int(sizes.max())):
        lists = nearest[block.start : block.stop].flatten()
        owner, place = _spread(weights.starts[lists], sizes[lists])
        keys = owner // k * num_images + weights.columns[place]
        pairs, inverse = keys.unique(return_inverse=True)
        sums = torch.zeros_like(pairs)
        sums.index_add_(0, inverse, (weights.values[place] * (_ONE / k)).round().long())
        counts = (pairs // num_images).bincount(minlength=len(block))
        parts.append((counts, (pairs % num_images).int(), (sums.double() / _ONE).float()))
    return _joined(parts)


def _by_column(matrix: CompressedRows) -> _Lists:
    """Invert a matrix: the rows of every column."""
    num_images = len(matrix.starts) - 1
    order = matrix.columns.argsort(stable=True)
    images = torch.arange(num_images, dtype=torch.int32, device=order.device)
    rows = images.repeat_interleave(matrix.starts.diff())[order]
    following = torch.empty_like(order)
    following[order] = torch.arange(1, len(order) + 1, device=order.device)
    ends = matrix.columns.bincount(minlength=num_images).cumsum(0)
    return _Lists(ends, rows, matrix.values[order], following)


def _add_shared(shared: Tensor, matrix: CompressedRows, columns: _Lists, block: range) -> None:
    """Add ``min(V[i, l], V[j, l])``, over all l, to the pairs i < j of the block, the first B N of ``shared``.

    Every entry (i, l) meets the entries of column l below it, and only those: each pair is added once. These lists have
    very different lengths. So they are laid end to end, and the whole is cut into pieces of about equally many
    products. That bounds the memory of a piece. Pieces of equally many entries would fill the device where a few
    columns are long.
    """
    num_images = len(columns.ends)
    starts = matrix.starts[block.start : block.stop + 1]
    entries = slice(int(starts[0]), int(starts[-1]))
    row = torch.arange(len(block), device=shared.device).repeat_interleave(starts.diff())  # i of every entry
    following = columns.following[entries]
    sizes = columns.ends[matrix.columns[entries]] - following  # entries that each one meets
    ends = sizes.cumsum(0)
    step = BLOCK_BYTES // _ITEM_BYTES
    full = torch.arange(1, int(ends[-1]) // step + 1, device=ends.device) * step
    cuts = torch.searchsorted(ends, full).tolist()
    pieces = (part.tensor_split(cuts) for part in (row, matrix.values[entries], following, sizes))
    for rows, values, firsts, counts in zip(*pieces, strict=True):
        owner, place = _spread(firsts, counts)
        least = torch.minimum(values[owner], columns.values[place])
        shared.index_add_(0, rows[owner] * num_images + columns.rows[place], (least * _ONE).long())


def _spread(firsts: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """List the places ``firsts[s]``, ``firsts[s] + 1``, ... of segments s of the given sizes, after the s of each."""
    owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    gaps = firsts - (sizes.cumsum(0) - sizes)
    return owner, torch.arange(len(owner), device=sizes.device) + gaps[owner]


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> CompressedRows:
    """Stack blocks of rows: sizes, columns and values."""
    sizes, columns, values = (torch.cat(blocks) for blocks in zip(*parts, strict=True))
    return CompressedRows(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), columns, values)


def _blocks(rows: range, bytes_per_row: int) -> Iterator[range]:
    step = max(1, BLOCK_BYTES // bytes_per_row)
    for start in range(rows.start, rows.stop, step):
        yield range(start, min(start + step, rows.stop))
