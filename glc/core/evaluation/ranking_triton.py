"""Ranks of gallery images on a GPU, counted without a sort, in one kernel."""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

__all__ = ['count_ranks']

_MATCHES, _COLUMNS = 16, 512  # of a query at a time, with so many gallery images: 64 counts per thread


def count_ranks(nearness: Tensor, queries: Tensor, images: Tensor) -> Tensor:
    """Count the images that rank before an image; equally near images keep their order in the gallery.

    Args:
        nearness: Nearness (B, G) of queries and gallery, contiguous, greater is nearer.
        queries: int64 rows (M,) of ``nearness``, rising, M >= 1.
        images: For each of them an int64 row (M,) of the gallery, whose rank is asked.

    Returns:
        int64 ranks (M,) of the images, from 1.
    """
    batch, size = nearness.shape
    starts = torch.searchsorted(queries, torch.arange(batch + 1, device=queries.device))
    ranks = torch.empty_like(images)
    grid = batch, triton.cdiv(int(starts.diff().max()), _MATCHES)
    _kernel[grid](nearness, starts, images, ranks, size, MATCHES=_MATCHES, COLUMNS=_COLUMNS)
    return ranks


def _count_ranks(  # type: ignore[no-untyped-def]
    nearness, starts, images, ranks, size, MATCHES: tl.constexpr, COLUMNS: tl.constexpr
):
    query = tl.program_id(0)
    matches = tl.load(starts + query) + tl.program_id(1) * MATCHES + tl.arange(0, MATCHES)
    asked = matches < tl.load(starts + query + 1)
    row = nearness + query.to(tl.int64) * size
    image = tl.load(images + matches, mask=asked, other=0)
    level = tl.load(row + image, mask=asked, other=float('inf'))[:, None]
    place = image.to(tl.int32)[:, None]
    count = tl.zeros((MATCHES, COLUMNS), tl.int32)
    if tl.sum(asked.to(tl.int32), 0) > 0:
        for first in range(0, size, COLUMNS):
            columns = first + tl.arange(0, COLUMNS)
            x = tl.load(row + columns, mask=columns < size, other=float('-inf'))[None, :]
            count += ((x > level) | ((x == level) & (columns[None, :] < place))).to(tl.int32)
    tl.store(ranks + matches, tl.sum(count, 1) + 1, mask=asked)


_kernel = triton and triton.jit(_count_ranks)
