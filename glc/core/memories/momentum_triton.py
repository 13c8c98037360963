"""The momentum updates of a batch on a GPU, in one kernel: the CPU waits for nothing, however often a row is hit."""

from __future__ import annotations

from torch import Tensor

try:
    import triton
    import triton.language as tl
except ImportError:  # torch for CPUs comes without it
    triton = None

__all__ = ['move_rows_']


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
    _kernel[(batch,)](rows, features, targets, momentum, dim, BATCH=batch, HARD=mode == 'hard', BLOCK=block)


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


_kernel = triton and triton.jit(_move_rows)
