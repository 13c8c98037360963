"""Cosine similarities of listed pairs of images, the same on every machine up to the last bit of float64."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from glc.core.compiled import compiled
from glc.core.neighbors.jaccard_numba import parallel_rows

_PAIRS_PER_BLOCK = 2**14
_BLOCK_PAIR_VALUES = 2**25  # 256 MiB in float64, on a GPU


def pair_similarities(
    features: Tensor,
    rows: Tensor,
    columns: Tensor,
    others: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Compute dot products of listed pairs of rows, summed in float64.

    Args:
        features: float32 tensor (N, D).
        rows: First vector of every pair, integer tensor (P,).
        columns: Second vector of every pair, integer tensor (P,).
        others: float32 tensor (M, D) that the second vectors are rows of; None for ``features``.
        dtype: What the products are rounded to.

    Returns:
        Tensor (P,) of ``dtype``; the value of a pair depends on nothing but its two vectors.
    """
    others = features if others is None else others
    if features.device.type == 'cpu':
        x, y, i, j = (part.contiguous().numpy() for part in (features, others, rows, columns))
        products = parallel_rows(partial(_products, x, y, i, j), range(len(i)), _PAIRS_PER_BLOCK)
        return torch.from_numpy(np.concatenate([np.empty(0), *products])).to(dtype)
    pairs_per_block = max(1, _BLOCK_PAIR_VALUES // features.shape[1])
    result = torch.empty(len(rows), dtype=dtype, device=features.device)
    blocks = (x.split(pairs_per_block) for x in (rows, columns, result))
    for i, j, similarities in zip(*blocks, strict=True):
        similarities.copy_((features[i].double() * others[j].double()).sum(dim=1))
    return result


@compiled(fastmath=True)
def _products(
    features: np.ndarray, others: np.ndarray, rows: np.ndarray, columns: np.ndarray, start: int, stop: int
) -> np.ndarray:
    """Products of the pairs ``start`` to ``stop``, float64."""
    result = np.empty(stop - start)
    for pair in range(start, stop):
        i, j = rows[pair], columns[pair]
        product = 0.0
        for channel in range(features.shape[1]):
            product += np.float64(features[i, channel]) * np.float64(others[j, channel])
        result[pair - start] = product
    return result
