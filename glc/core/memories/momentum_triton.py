"""The momentum updates of a batch on a GPU, in one kernel: the CPU waits for nothing, however often a row is hit."""

import triton
import triton.language as tl
from torch import Tensor

__all__ = ['apply_in_turn_']


def apply_in_turn_(rows: Tensor, features: Tensor, targets: Tensor, momentum: float) -> None:
    """Apply ``row <- normalize(momentum * row + (1 - momentum) * x)`` with every instance of a row, in their order.

    Args:
        rows: (B, D) float32, contiguous: the old row of each instance, which becomes the new one.
        features: (B, D) float32, contiguous.
        targets: (B,) int64 row of each instance.
        momentum: Share of the old row that stays.
    """
    batch, dim = rows.shape
    block = triton.next_power_of_2(dim)
    _apply_in_turn[(batch,)](rows, features, targets, momentum, batch, dim, BLOCK=block)


@triton.jit  # type: ignore[untyped-decorator]
def _apply_in_turn(rows, features, targets, momentum, batch, dim, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    instance = tl.program_id(0)
    columns = tl.arange(0, BLOCK)
    inside = columns < dim
    target = tl.load(targets + instance)
    row = tl.load(rows + instance * dim + columns, mask=inside, other=0.0)
    for other in range(batch):
        if tl.load(targets + other) == target:
            x = tl.load(features + other * dim + columns, mask=inside, other=0.0)
            row = momentum * row + (1 - momentum) * x
            row = row / tl.maximum(tl.sqrt(tl.sum(row * row, 0)), 1e-12)
    tl.store(rows + instance * dim + columns, row, mask=inside)
