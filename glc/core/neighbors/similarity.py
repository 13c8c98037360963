"""Cosine similarities of listed pairs of images, the same on every machine up to the last bit of float64."""

from __future__ import annotations

import torch
from torch import Tensor

_BLOCK_PAIR_VALUES = 2**20  # 8 MiB in float64: about a core's cache


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
    pairs_per_block = max(1, _BLOCK_PAIR_VALUES // features.shape[1])
    result = torch.empty(len(rows), dtype=dtype, device=features.device)
    blocks = (x.split(pairs_per_block) for x in (rows, columns, result))
    for i, j, similarities in zip(*blocks, strict=True):
        similarities.copy_((features[i].double() * others[j].double()).sum(dim=1))
    return result
