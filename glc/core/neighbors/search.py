"""Exact search in more features than need to be in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

_BLOCK_SIMILARITIES = 2**23  # 32 MiB
_FEWEST_ROWS = 2**10


def nearest_rows(queries: np.ndarray, parts: Iterable[np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the rows with the largest dot products, exactly, in blocks of rows.

    Args:
        queries: float32 (Q, D).
        parts: Arrays (G_i, D) float32 whose rows are numbered on; they may be memory-mapped.
        k: Rows per query; with fewer than k rows all of them are returned.

    Returns:
        int64 rows and float32 products (Q, K), by falling product. Of equal ones any may be chosen.

    Example:
        >>> rows, products = nearest_rows(np.eye(2, dtype='f4'), [np.array([[0, 1], [1, 0], [3, 1]], 'f4')], 2)
        >>> rows.tolist(), products.tolist()
        ([[2, 1], [0, 2]], [[3.0, 1.0], [1.0, 1.0]])
    """
    rows = np.empty((len(queries), 0), np.int64)
    products = np.empty((len(queries), 0), np.float32)
    size = max(_FEWEST_ROWS, _BLOCK_SIMILARITIES // max(len(queries), 1))
    start = 0
    for part in parts:
        for first in range(0, len(part), size):
            block = part[first : first + size]
            found = queries @ block.T
            best = _first(found, k)
            rows = np.concatenate([rows, best + start + first], axis=1)
            products = np.concatenate([products, np.take_along_axis(found, best, 1)], axis=1)
            order = np.argsort(-products, axis=1)[:, :k]
            rows, products = (np.take_along_axis(values, order, 1) for values in (rows, products))
        start += len(part)
    return rows, products


def _first(products: np.ndarray, k: int) -> np.ndarray:
    """Return the columns of the k largest products of every row, in rising order."""
    if k >= products.shape[1]:
        return np.tile(np.arange(products.shape[1]), (len(products), 1))
    return np.sort(np.argpartition(products, -k, axis=1)[:, -k:], axis=1)
