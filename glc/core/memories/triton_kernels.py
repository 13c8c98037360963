"""Kernels of the memories for a GPU: momentum updates of a batch, means of classes, cross entropy with its gradient.

One kernel makes all updates, so the CPU waits for nothing, however often a row is hit. A step of a memory is two
products and many small operations. To start these takes longer than they do, so a kernel makes several.
"""

from __future__ import annotations

import torch
from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

__all__ = ['cross_entropy_', 'move_means_', 'move_rows_']

_LARGEST_BLOCK = 4096


def move_rows_(rows: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str) -> None:
    """Apply the momentum update of :func:`~glc.core.memories.base.momentum_rows`.

    Args:
        rows: (B, D) float32, contiguous: the old row of each instance, which becomes the new one.
        features: (B, D) float32, contiguous.
        targets: (B,) int64 row of each instance.
        momentum: Share of the old row that stays.
        mode: ``'mean'`` or ``'hard'``.
    """
    batch, dim = rows.shape
    block = triton.next_power_of_2(dim)
    _move_kernel[(batch,)](
        rows, features, targets, momentum, dim, BATCH=batch, HARD=mode == 'hard', BLOCK=block
    )


def cross_entropy_(similarities: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compute :func:`~glc.core.memories.base.cross_entropy`; the gradient takes the memory of the input.

    Args:
        similarities: (B, R) float32, contiguous; overwritten.
        rows: (B,) int64 row of each image.

    Returns:
        The mean of the losses, and the gradient (B, R).
    """
    batch, size = similarities.shape
    own = similarities.gather(1, rows[:, None])  # the device stops for a row out of range
    losses = torch.empty_like(own)
    block = min(triton.next_power_of_2(size), _LARGEST_BLOCK)
    _cross_entropy_kernel[(batch,)](
        similarities, own, rows, losses, size, 1 / batch, BLOCK=block, num_warps=8
    )
    return losses.mean(), similarities


def move_means_(
    bank: Tensor,
    sums: Tensor,
    sizes: Tensor,
    classes: Tensor,
    images: Tensor,
    old: Tensor,
    rows: Tensor,
) -> None:
    """Add what the images of a batch moved to the sums of their classes, and compute the means of these again.

    An image that was drawn several times moves once. The order of the sums is that of the batch.

    Args:
        bank: (R, D) float32, contiguous: the means of the classes.
        sums: (R, D) float64, contiguous: their sums.
        sizes: (R,) int64 images of each class.
        classes: (B,) int64 class of each image of the batch.
        images: (B,) int64 images.
        old: (N, D) float32, contiguous: vectors of all images before they move.
        rows: (B, D) float32, contiguous: vectors of the images of the batch.
    """
    batch, dim = rows.shape
    blocks = {'PADDED': triton.next_power_of_2(batch), 'BLOCK': triton.next_power_of_2(dim)}
    _means_kernel[(batch,)](bank, sums, sizes, classes, images, old, rows, dim, BATCH=batch, **blocks)


def _move_rows(  # type: ignore[no-untyped-def]
    rows, features, targets, momentum, dim, BATCH: tl.constexpr, HARD: tl.constexpr, BLOCK: tl.constexpr
):
    instance = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < dim
    target = tl.load(targets + instance)
    old = tl.load(rows + instance * dim + columns, mask=inside, other=0.0)
    row = old
    least = float('inf')
    for other in range(BATCH):
        if tl.load(targets + other) == target:
            x = tl.load(features + other * dim + columns, mask=inside, other=0.0)
            if HARD:
                similarity = tl.sum(old * x, 0)
                row = tl.where(similarity < least, momentum * old + (1 - momentum) * x, row)
                least = tl.minimum(similarity, least)
            else:
                row = momentum * row + (1 - momentum) * x
                row = row / tl.maximum(tl.sqrt(tl.sum(row * row, 0)), 1e-12)
    if HARD:
        row = row / tl.maximum(tl.sqrt(tl.sum(row * row, 0)), 1e-12)
    tl.store(rows + instance * dim + columns, row, mask=inside)


def _cross_entropy(  # type: ignore[no-untyped-def]
    similarities, own, rows, losses, size, share, BLOCK: tl.constexpr
):
    image = tl.program_id(0)
    mine = similarities + image.to(tl.int64) * size
    columns = tl.arange(0, BLOCK)
    largest = float('-inf')
    total = 0.0
    for first in range(0, size, BLOCK):
        x = tl.load(mine + first + columns, mask=first + columns < size, other=float('-inf'))
        new = tl.maximum(largest, tl.max(x, 0))
        total = total * tl.exp(largest - new) + tl.sum(tl.exp(x - new), 0)
        largest = new
    log_total = largest + tl.log(total)
    tl.store(losses + image, log_total - tl.load(own + image))
    row = tl.load(rows + image)
    for first in range(0, size, BLOCK):
        inside = first + columns < size
        x = tl.load(mine + first + columns, mask=inside, other=0.0)
        gradient = share * (tl.exp(x - log_total) - tl.where(first + columns == row, 1.0, 0.0))
        tl.store(mine + first + columns, gradient, mask=inside)


def _move_means(  # type: ignore[no-untyped-def]
    bank,
    sums,
    sizes,
    classes,
    images,
    old,
    rows,
    dim,
    BATCH: tl.constexpr,
    PADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    instance = tl.program_id(0)
    drawn = tl.arange(0, PADDED)
    inside = drawn < BATCH
    own = tl.load(classes + instance)
    all_classes = tl.load(classes + drawn, mask=inside, other=-1)
    all_images = tl.load(images + drawn, mask=inside, other=-1)
    if tl.sum(((all_classes == own) & (drawn < instance)).to(tl.int32), 0) == 0:  # the first one of its class
        columns = tl.arange(0, BLOCK)
        known = columns < dim
        total = tl.load(sums + own * dim + columns, mask=known, other=0.0)
        for other in range(BATCH):
            if tl.load(classes + other) == own:
                image = tl.load(images + other)
                if tl.sum(((all_images == image) & (drawn < other)).to(tl.int32), 0) == 0:
                    new = tl.load(rows + other * dim + columns, mask=known, other=0.0).to(tl.float64)
                    total += new - tl.load(old + image * dim + columns, mask=known, other=0.0).to(tl.float64)
        tl.store(sums + own * dim + columns, total, mask=known)
        mean = total / tl.load(sizes + own).to(tl.float64)
        tl.store(bank + own * dim + columns, mean.to(tl.float32), mask=known)


_means_kernel = triton and triton.jit(_move_means)
_move_kernel = triton and triton.jit(_move_rows)
_cross_entropy_kernel = triton and triton.jit(_cross_entropy)
