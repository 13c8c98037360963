"""The batch of all processes, with its gradient."""

import torch
from torch import Tensor
from torch.distributed import get_rank, get_world_size, is_available, is_initialized

from glc.core.memories.base import gather_batch

__all__ = ['global_batch']


class _GlobalBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, rows: Tensor) -> Tensor:
        return gather_batch(rows)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient.chunk(get_world_size())[get_rank()] * get_world_size()


def global_batch(rows: Tensor) -> Tensor:
    """Gather the rows of all processes, in the order of their ranks, on every process; differentiable.

    Every process must compute the same loss from the result. The gradient of a process's own rows is multiplied by the
    number of processes, because distributed training averages gradients. Below the gather, each process holds a part of
    the global batch, so the average becomes the gradient of that loss. Above it, all gradients agree anyway.

    Args:
        rows: (B, ...), of the same shape on every process.

    Returns:
        (world_size * B, ...); the input itself where there is one process.

    Example:
        >>> rows = torch.ones(2, 3)
        >>> global_batch(rows) is rows
        True
    """
    if not (is_available() and is_initialized()) or get_world_size() == 1:
        return rows
    return _GlobalBatch.apply(rows)
