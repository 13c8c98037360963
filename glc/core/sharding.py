"""Sharing the work on one feature bank among the processes of a distributed run.

Nothing is shared unless the caller says that every process makes the same calls: ``with shared_work(): ...``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Block = TypeVar('Block')

_SHARED = ContextVar('shared', default=False)


@contextmanager
def shared_work() -> Iterator[None]:
    """Within it, graphs and distances are computed in shares: one per process of the default process group.

    Every process must make the same calls with the same features; each gets the whole result, the same as one
    process alone. Without an initialised process group it does nothing.

    Example:
        >>> with shared_work():
        ...     list(own_rows(5))
        [0, 1, 2, 3, 4]
    """
    token = _SHARED.set(True)
    try:
        yield
    finally:
        _SHARED.reset(token)


def own_rows(num_rows: int) -> range:
    """The rows of this process, an equal share."""
    rank, world_size = _place()
    return range(num_rows * rank // world_size, num_rows * (rank + 1) // world_size)


def own_triangle_rows(num_rows: int) -> range:
    """The rows of this process where row i costs ``num_rows - i``: an equal share of the cost."""
    rank, world_size = _place()
    start, stop = (round(num_rows * (1 - (1 - part / world_size) ** 0.5)) for part in (rank, rank + 1))
    return range(start, stop)


def gather_blocks(blocks: list[Block]) -> list[Block]:
    """The blocks of all processes, in the order of their ranks."""
    if _place()[1] == 1:
        return blocks
    shares: list[list[Block]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(shares, blocks)
    return [block for share in shares for block in share]


def gather_rows(rows: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks, on the device of this process's own."""
    if _place()[1] == 1:
        return rows
    return torch.cat([block.to(rows.device) for block in gather_blocks([rows.cpu()])])


def _place() -> tuple[int, int]:
    """Rank and number of processes that share the work."""
    if _SHARED.get() and dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
