"""Ranks of gallery images, counted without a sort; compiled by numba."""

from __future__ import annotations

import numpy as np

from glc.core.compiled import compiled


@compiled()
def count_ranks(
    nearness: np.ndarray, queries: np.ndarray, images: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Count the images that rank before an image; equally near images keep their order in the gallery.

    Args:
        nearness: Nearness (B, G) of queries and gallery, greater is nearer.
        queries: Rows (M,) of ``nearness``.
        images: For each of them a row (M,) of the gallery, whose rank is asked.
        start: First of the M.
        stop: That after the last.

    Returns:
        int64 ranks of the images ``start`` to ``stop``, from 1.
    """
    ranks = np.empty(stop - start, np.int64)
    for n in range(start, stop):
        row, image = nearness[queries[n]], images[n]
        level, rank, after = row[image], np.int32(1), row[image + 1 :]
        # Loops over numbers from 0, and sums in 32 bits, become the fastest vector instructions.
        for k in range(image):
            rank = np.int32(rank + (row[k] >= level))
        for k in range(len(after)):
            rank = np.int32(rank + (after[k] > level))
        ranks[n - start] = rank
    return ranks
