"""The k-reciprocal Jaccard distance in torch, on the device of its tensors.

:mod:`glc.core.neighbors.jaccard_numba` does the same on CPUs.

A device adds in no fixed order. So numbers in [0, 1] are summed as integers, multiples of 2**-60: nothing is rounded,
and the result is the same in any order and on any device. Work is done in blocks of about :data:`BLOCK_BYTES`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from glc.core.neighbors.jaccard_numba import Rows
from glc.core.neighbors.similarity import pair_similarities

BLOCK_BYTES = 2**30
"""Device memory of a block of rows; one row may need more."""

_ITEM_BYTES = 64  # of everything that is held of one candidate or product of a block at a time
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
    products = [
        _row_sums(matrix, columns.ends[matrix.columns] - columns.following)
        for matrix, columns in zip(encodings, lists, strict=True)
    ]
    for block in _blocks_of_items(torch.stack(products).sum(dim=0), rows):
        parts = []
        for matrix, columns in zip(encodings, lists, strict=True):
            pairs, shared = _shared(matrix, columns, block)
            sums = shared.double() / _ONE
            parts.append((pairs, (sums / (2 - sums) / len(encodings) * _ONE).round().long()))
        met, means = _summed(*(torch.cat(part) for part in zip(*parts, strict=True)))
        distances = (1 - means.double() / _ONE).float()
        near = distances <= max_distance
        met = met[near]
        sizes = (met // num_images).bincount(minlength=len(block))
        kept = (sizes, (met % num_images).int(), distances[near])
        counts, js, values = (part.cpu().numpy() for part in kept)
        yield counts, js, values


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
    for block in _blocks_of_items(sizes[nearest].sum(dim=1), range(num_images)):
        lists = nearest[block.start : block.stop].flatten()
        owner, place = _spread(weights.starts[lists], sizes[lists])
        keys = owner // k * num_images + weights.columns[place]
        pairs, sums = _summed(keys, (weights.values[place] * (_ONE / k)).round().long())
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


def _shared(matrix: CompressedRows, columns: _Lists, block: range) -> tuple[Tensor, Tensor]:
    """Compute ``sum_l min(V[i, l], V[j, l])`` of the pairs i < j of a block that share a column.

    Every entry (i, l) meets the entries of column l below it, and only those: each product is made once.

    Returns:
        Rising pairs ``(i - block.start) N + j``, and their sums in multiples of 2**-60.
    """
    num_images = len(columns.ends)
    starts = matrix.starts[block.start : block.stop + 1]
    entries = slice(int(starts[0]), int(starts[-1]))
    row = torch.arange(len(block), device=starts.device).repeat_interleave(starts.diff())  # i of every entry
    following = columns.following[entries]
    owner, place = _spread(following, columns.ends[matrix.columns[entries]] - following)
    least = torch.minimum(matrix.values[entries][owner], columns.values[place])
    return _summed(row[owner] * num_images + columns.rows[place], (least * _ONE).long())


def _summed(keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the different keys, rising, and the sums of their values."""
    pairs, inverse = keys.unique(return_inverse=True)
    return pairs, torch.zeros_like(values[: len(pairs)]).index_add_(0, inverse, values)


def _spread(firsts: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """List the places ``firsts[s]``, ``firsts[s] + 1``, ... of segments s of the given sizes, after the s of each."""
    owner = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    gaps = firsts - (sizes.cumsum(0) - sizes)
    return owner, torch.arange(len(owner), device=sizes.device) + gaps[owner]


def _joined(parts: list[tuple[Tensor, Tensor, Tensor]]) -> CompressedRows:
    """Stack blocks of rows: sizes, columns and values."""
    sizes, columns, values = (torch.cat(blocks) for blocks in zip(*parts, strict=True))
    return CompressedRows(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]), columns, values)


def _row_sums(matrix: CompressedRows, values: Tensor) -> Tensor:
    """Add the integers (E,) that belong to the entries of each row: int64 (N,)."""
    ends = values.cumsum(0)
    return torch.cat([ends.new_zeros(1), ends])[matrix.starts].diff()


def _blocks_of_items(items: Tensor, rows: range) -> Iterator[range]:
    """Cut rows, which have ``items`` (N,), into blocks of about :data:`BLOCK_BYTES`; a row is never cut."""
    if not rows:
        return
    total = items[rows.start : rows.stop].cumsum(0)
    step = BLOCK_BYTES // _ITEM_BYTES
    full = torch.arange(1, int(total[-1]) // step + 1, device=total.device) * step
    cuts = [rows.start, *(torch.searchsorted(total, full) + rows.start).unique().tolist(), rows.stop]
    yield from (range(start, stop) for start, stop in pairwise(cuts) if start < stop)


def _blocks(rows: range, bytes_per_row: int) -> Iterator[range]:
    step = max(1, BLOCK_BYTES // bytes_per_row)
    for start in range(rows.start, rows.stop, step):
        yield range(start, min(start + step, rows.stop))
