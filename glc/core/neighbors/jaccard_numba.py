"""Loops over neighbor lists, compiled by numba: what NumPy cannot stream.

Every kernel does the rows ``start`` to ``stop`` of its result and releases the interpreter lock, so that
:func:`parallel_rows` runs blocks of rows on threads. A row does not depend on the block it is in.

Kernels that collect sets or sums keep one array of N entries for all their rows. It is never cleared as a whole, which
would cost N steps per row. A mark is the number of the row that set it, so old marks do no harm. Sums are set back to 0
where they were touched.

Inner loops look up with unsigned numbers, which saves the check for negative ones. What may be new is written always,
and kept by counting on where it is new, which is faster than a branch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

import numpy as np
import torch

from glc.core.compiled import compiled

Result = TypeVar('Result')
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
Compressed = tuple[np.ndarray, np.ndarray, np.ndarray]
Lists = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_ROWS_PER_BLOCK = 2048
_PART_BYTES = 2**28
_NUM_CORES = os.cpu_count() or 1  # to ask takes longer than many a block
_ROUNDING = 1e-6
_kept_threads: ContextVar[ThreadPoolExecutor | None] = ContextVar('_kept_threads', default=None)


def parallel_rows(
    kernel: Callable[[int, int], Result], rows: range, per_block: int | None = None
) -> Iterator[Result]:
    """Run ``kernel(start, stop)`` on blocks of ``per_block`` rows, on as many threads as torch uses, in order."""
    per_block = per_block or _ROWS_PER_BLOCK
    starts = range(rows.start, rows.stop, per_block)
    stops = [min(start + per_block, rows.stop) for start in starts]
    if _num_threads() == 1 or len(starts) == 1:  # a thread of its own would only have to be started
        yield from map(kernel, starts, stops)
        return
    kept = _kept_threads.get()
    with nullcontext(kept) if kept else ThreadPoolExecutor(_num_threads()) as threads:
        yield from threads.map(kernel, starts, stops)


@contextmanager
def kept_threads() -> Iterator[None]:
    """Let all :func:`parallel_rows` within share their threads: to start them takes as long as a small block."""
    if _kept_threads.get():
        yield
        return
    with ThreadPoolExecutor(_num_threads()) as threads:
        before = _kept_threads.set(threads)
        try:
            yield
        finally:
            _kept_threads.reset(before)


def _num_threads() -> int:
    return min(torch.get_num_threads(), _NUM_CORES)


def stack_blocks(blocks: Iterable[Sequence[np.ndarray]]) -> list[np.ndarray]:
    """Stack the arrays of blocks of rows, so that little of them is there twice.

    Blocks are gathered in parts, and these are given up as they are copied. A part is large, since the memory of large
    arrays goes back to the system at once, and that of small ones may not.
    """
    parts: list[list[np.ndarray]] = []
    waiting: list[Sequence[np.ndarray]] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += sum(array.nbytes for array in block)
        if size >= _PART_BYTES:
            parts.append(_stacked(waiting))
            waiting, size = [], 0
    if waiting:
        parts.append(_stacked(waiting))
    if len(parts) == 1:
        return parts[0]
    lengths = [sum(len(part[number]) for part in parts) for number in range(len(parts[0]))]
    stacked = [
        np.empty((n, *first.shape[1:]), first.dtype) for n, first in zip(lengths, parts[0], strict=True)
    ]
    parts.reverse()
    filled = [0] * len(stacked)
    while parts:
        for number, array in enumerate(parts.pop()):
            stacked[number][filled[number] : filled[number] + len(array)] = array
            filled[number] += len(array)
    return stacked


def _stacked(blocks: list[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(arrays) for arrays in zip(*blocks, strict=True)]


def join_rows(blocks: Iterable[Rows]) -> Rows:
    """Stack blocks of sparse rows: sizes, columns and values to indptr, columns and values."""
    sizes, columns, values = stack_blocks(blocks)
    return np.concatenate([[0], np.cumsum(sizes)]), columns, values


@compiled()
def places_in_return(ranks: np.ndarray, places: np.ndarray, start: int, stop: int) -> None:
    """Find the place of i among the neighbors of each of its neighbors.

    Args:
        ranks: Neighbors (N, K) of every image.
        places: Gets the places (N, K) of the rows, K where i is not among them; an unsigned type that holds K.
        start: First row.
        stop: Row after the last.
    """
    num_neighbors = ranks.shape[1]
    for i in range(start, stop):
        for rank in range(num_neighbors):
            others = ranks[ranks[i, rank]]
            found = num_neighbors
            for place in range(num_neighbors):  # without a branch or an early end, several at a time
                found = min(found, place if others[place] == i else num_neighbors)
            places[i, rank] = found


@compiled()
def mutual_neighbors(
    ranks: np.ndarray, places: np.ndarray, counts: np.ndarray, members: np.ndarray, start: int, stop: int
) -> None:
    """Find the j among the first k neighbors of i that have i among their first k.

    Args:
        ranks: Neighbors (N, K), K >= k, of every image.
        places: Their :func:`places_in_return`.
        counts: Gets the number of mutual neighbors (N,) of the rows.
        members: Gets the neighbors (N, k) of the rows, with -1 after the last.
        start: First row.
        stop: Row after the last.
    """
    k = members.shape[1]
    for i in range(start, stop):
        found = 0
        for rank in range(k):
            if places[i, rank] < k:
                members[i, found] = ranks[i, rank]
                found += 1
        members[i, found:] = -1
        counts[i] = found


@compiled()
def expanded_sets(
    counts: np.ndarray,
    members: np.ndarray,
    half_counts: np.ndarray,
    half_members: np.ndarray,
    start: int,
    stop: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Join every R(i) with the H(j), j in R(i), of which more than two thirds lie in R(i).

    Args:
        counts: Sizes (N,) of the R(i).
        members: Members (N, k) of the R(i); those after the first ``counts[i]`` do not count.
        half_counts: Sizes (N,) of the H(i).
        half_members: Members (N, h) of the H(i).
        start: First row.
        stop: Row after the last.

    Returns:
        Sizes (M,) of the expanded sets of the M rows, and their members, set by set.
    """
    # Membership is one look-up. The marks of other rows are other numbers, so nothing has to be cleared.
    own = np.full(len(counts), -1, np.int32)  # own[j] == i: j is in R(i)
    seen = np.full(len(counts), -1, np.int32)  # seen[j] == i: j is in the expanded set of i
    sizes = np.zeros(stop - start, np.int64)
    result = np.empty(4 * members.shape[1] * (stop - start) + 1, np.int32)
    filled = np.uint64(0)
    for i in range(np.uint64(start), np.uint64(stop)):
        # Room for the largest possible set, made before the inner loops, which then need no check.
        worst = filled + np.uint64(counts[i] * (1 + half_members.shape[1]))
        if worst >= len(result):
            result = np.append(result, np.empty(worst, np.int32))
        first = filled
        for place in range(np.uint64(counts[i])):
            j = np.uint32(members[i, place])
            own[j] = i
            seen[j] = i
            result[filled] = j
            filled += np.uint64(1)
        for place in range(np.uint64(counts[i])):
            j = np.uint32(members[i, place])
            others = range(np.uint64(half_counts[j]))
            shared = 0
            for other in others:
                shared += own[np.uint32(half_members[j, other])] == i
            if 3 * shared > 2 * half_counts[j]:
                for other in others:
                    far = np.uint32(half_members[j, other])
                    result[filled] = far
                    filled += np.uint64(seen[far] != i)
                    seen[far] = i
        sizes[i - np.uint64(start)] = filled - first
    return sizes, result[:filled].copy()


@compiled()
def averaged_rows(
    ranks: np.ndarray,
    k: int,
    starts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    start: int,
    stop: int,
) -> Rows:
    """Average, for every image, the rows of a sparse matrix that belong to its first k neighbors.

    Args:
        ranks: Neighbors (N, K), K >= k, of every image.
        k: Neighbors that count.
        starts: Row starts (N + 1,) of the matrix.
        columns: Its columns, each once in a row.
        values: Its values, float64 of at least 0.
        start: First row.
        stop: Row after the last.

    Returns:
        Number of entries (M,) of the M rows; their columns, in no order; their float32 values above 0.
    """
    sums = np.zeros(len(ranks))
    sizes = np.zeros(stop - start, np.int64)
    found = np.empty(64 * (stop - start), np.int32)
    means = np.empty(len(found), np.float32)
    filled = np.uint64(0)
    for i in range(start, stop):
        worst = filled
        for j in ranks[i, :k]:
            worst += np.uint64(starts[j + 1] - starts[j])
        if worst >= len(found):
            found = np.append(found, np.empty(len(found) + worst, np.int32))
            means = np.append(means, np.empty(len(found) - len(means), np.float32))
        last = filled
        for j in ranks[i, :k]:
            for entry in range(np.uint64(starts[j]), np.uint64(starts[j + 1])):
                column = np.uint32(columns[entry])
                found[last] = column
                last += np.uint64(sums[column] == 0)
                sums[column] += values[entry]
        first = filled
        for place in range(first, last):
            column = np.uint32(found[place])
            found[filled] = column
            means[filled] = sums[column] / k
            filled += np.uint64(means[filled] > 0)
            sums[column] = 0
        sizes[i - start] = filled - first
    return sizes, found[:filled].copy(), means[:filled].copy()


@compiled()
def by_column(matrix: Compressed, start: int, stop: int) -> Lists:
    """Invert a sparse matrix (N, N), as far as some of its rows need it: the rows of every column.

    Args:
        matrix: The matrix by rows: starts (N + 1,), columns and values of the E < 2**32 entries.
        start: First of the rows that need it.
        stop: Row after the last.

    Returns:
        Ends (N,) of the columns; rows from ``start`` on of the columns of these rows, rising within each column, and
        their values; for every entry of these rows, the place by columns after its own, which is where its column goes
        on with the rows after its row.
    """
    starts, columns, values = matrix
    num_images = len(starts) - 1
    first, last = starts[start], starts[stop]
    needed = np.zeros(num_images, np.bool_)
    for column in columns[first:last]:
        needed[column] = True
    ends = np.zeros(num_images + 1, np.int64)
    for column in columns[first:]:
        ends[column + 1] += needed[column]
    ends = np.cumsum(ends)
    free = ends[:-1].copy()
    rows = np.empty(ends[-1], np.uint32)
    sorted_values = np.empty(ends[-1], values.dtype)
    following = np.empty(last - first, np.uint32)
    for i in range(start, num_images):
        for entry in range(starts[i], starts[i + 1]):
            column = columns[entry]
            if not needed[column]:
                continue
            place = free[column]
            rows[place] = i
            sorted_values[place] = values[entry]
            free[column] = place + 1
            if entry < last:
                following[entry - first] = place + 1
    return ends[1:].copy(), rows, sorted_values, following


def num_inverted(num_matrices: int, max_distance: float) -> int:
    """Say how many matrices :func:`mean_distances` needs by columns.

    A pair that these do not join is farther apart than ``max_distance``, were it equal in all the others.
    """
    return min(num_matrices, int(num_matrices * max_distance + _ROUNDING) + 1)


@compiled()
def mean_distances(
    num_matrices: int,
    rows: tuple[Compressed, ...],
    lists: tuple[Lists, ...],
    max_distance: float,
    first_row: int,
    start: int,
    stop: int,
) -> Rows:
    """Compute the mean over S matrices of ``1 - s / (2 - s)``, ``s = sum_l min(V[i, l], V[j, l])``, of pairs i < j.

    The pairs are found in the inverted lists of the first matrices. The others are only asked about pairs that may
    still come within the distance, so the largest matrices should be the last.

    Args:
        num_matrices: S. The tuples may be longer, so that one compiled function serves several S; what comes after
            is not looked at.
        rows: Matrices of positive values whose rows sum to 1, by rows: starts (N + 1,), uint32 columns and values.
        lists: The first :func:`num_inverted` of them by columns, see :func:`by_column`; nor is the rest of these.
        max_distance: Larger distances are left out, and those of pairs that no matrix joins.
        first_row: First of the rows that the lists were made for.
        start: First row i.
        stop: Row after the last.

    Returns:
        Number of kept j (M,) of the M rows; the j, rising within each row; their float32 distances.
    """
    num_images = len(rows[0][0]) - 1
    needed = (1 - max_distance) * num_matrices - _ROUNDING
    sums = np.zeros(num_images)
    means = np.zeros(num_images)
    own = np.zeros(num_images, np.float32)
    touched = np.empty(num_images + 1, np.uint32)
    met = np.empty(num_images + 1, np.uint32)
    sizes = np.zeros(stop - start, np.int64)
    found = np.empty(64 * (stop - start), np.uint32)
    distances = np.empty(len(found), np.float32)
    filled = 0
    for i in range(start, stop):
        num_met = np.uint64(0)  # images that share a column with i, in any matrix
        for matrix in range(num_matrices):
            row_starts, row_columns, row_values = rows[matrix]
            entries = range(np.uint64(row_starts[i]), np.uint64(row_starts[i + 1]))
            if num_matrices - matrix < needed:  # too few are left for a new pair
                for entry in entries:
                    own[row_columns[entry]] = row_values[entry]
                num_left = np.uint64(0)
                for place in range(num_met):
                    j = met[place]
                    if means[j] + (num_matrices - matrix) < needed:
                        means[j] = 0
                        continue
                    shared = 0.0
                    for entry in range(np.uint64(row_starts[j]), np.uint64(row_starts[j + np.uint32(1)])):
                        value, other = row_values[entry], own[row_columns[entry]]
                        shared += value if value < other else other
                    means[j] += shared / (2 - shared)
                    met[num_left] = j
                    num_left += np.uint64(1)
                num_met = num_left
                for entry in entries:
                    own[row_columns[entry]] = 0
                continue
            column_ends, column_rows, column_values, following = lists[matrix]
            first_entry = np.uint64(row_starts[first_row])
            num_touched = np.uint64(0)
            for entry in entries:
                value = row_values[entry]
                after = np.uint64(following[entry - first_entry])
                for place in range(after, np.uint64(column_ends[row_columns[entry]])):
                    j, other = column_rows[place], column_values[place]
                    shared = sums[j]
                    touched[num_touched] = j
                    num_touched += np.uint64(shared == 0)
                    sums[j] = shared + (value if value < other else other)
            # The sums of this matrix are complete. They become a distance, and are 0 again for the next matrix.
            for place in range(num_touched):
                j = touched[place]
                met[num_met] = j
                num_met += np.uint64(means[j] == 0)
                means[j] += sums[j] / (2 - sums[j])
                sums[j] = 0
        if filled + num_met > len(found):
            found = np.append(found, np.empty(len(found) + num_met, np.uint32))
            distances = np.append(distances, np.empty(len(found) - len(distances), np.float32))
        first = filled
        for j in met[:num_met]:
            # As it is stored, so that rounding cannot exceed the limit.
            if np.float32(1 - means[j] / num_matrices) <= max_distance:
                found[filled] = j
                filled += 1
        found[first:filled].sort()
        for place in range(first, filled):
            distances[place] = 1 - means[found[place]] / num_matrices
        for j in met[:num_met]:
            means[j] = 0
        sizes[i - start] = filled - first
    return sizes, found[:filled].astype(np.int32), distances[:filled].copy()


@compiled()
def shared_weights(
    rows: Compressed, columns: Compressed, num_others: int, start: int, stop: int
) -> np.ndarray:
    """Compute ``s[i, j] = sum_l min(V[i, l], W[j, l])`` of the rows of two sparse matrices.

    Args:
        rows: V (M, N) by rows: starts (M + 1,), columns and values.
        columns: W (P, N) by columns: starts (N + 1,), rows and values.
        num_others: Rows P of W.
        start: First row i.
        stop: Row after the last.

    Returns:
        Dense float32 values (B, P) of the B rows of V, summed in float64.
    """
    row_starts, row_columns, row_values = rows
    column_starts, column_rows, column_values = columns
    result = np.empty((stop - start, num_others), np.float32)
    sums = np.empty(num_others)
    for i in range(start, stop):
        sums[:] = 0  # the result is dense, so this costs no more than to write it
        for entry in range(row_starts[i], row_starts[i + 1]):
            value, column = row_values[entry], row_columns[entry]
            for other in range(column_starts[column], column_starts[column + 1]):
                sums[column_rows[other]] += min(value, column_values[other])
        result[i - start] = sums
    return result


@compiled(fastmath=True)
def gaussian_rows(
    features: np.ndarray,
    images: np.ndarray,
    known: Rows,
    indptr: np.ndarray,
    columns: np.ndarray,
    result: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Compute ``exp(2 <x_i, x_j> - 2)`` of the listed pairs, products summed in float64.

    Args:
        features: Unit rows (N, D), float32.
        images: Which of them (N,) the i and j are.
        known: Pairs that were computed before: row starts (N + 1,), the j and the values, which are above 0.
        indptr: Row starts (N + 1,) of the pairs.
        columns: The j of every pair (i, j).
        result: Gets the float64 values of the pairs of the rows.
        start: First row i.
        stop: Row after the last.
    """
    known_starts, known_columns, known_values = known
    values = np.zeros(len(images))  # of the pairs of a row, 0 where unknown
    for i in range(start, stop):
        own = features[images[i]]
        before = range(known_starts[i], known_starts[i + 1])
        for entry in before:
            values[known_columns[entry]] = known_values[entry]
        for entry in range(indptr[i], indptr[i + 1]):
            value = values[columns[entry]]
            if value == 0:
                other = features[images[columns[entry]]]
                product = 0.0
                for channel in range(features.shape[1]):
                    product += np.float64(own[channel]) * np.float64(other[channel])
                value = np.exp(2 * product - 2)
            result[entry] = value
        for entry in before:
            values[known_columns[entry]] = 0
