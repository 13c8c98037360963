"""Sharing the work on one set of features among processes."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from glc.core.parameters import AT_LEAST_ONE, CheckedFields, Interval, Rules

Block = TypeVar('Block')


@dataclass(frozen=True)
class Workers(CheckedFields):
    """The processes that share a piece of work; this one alone by default.

    Every process makes the same calls with the same features. Each gets the whole result, the same as one process
    alone.

    Args:
        rank: Number of this process among them.
        size: Number of processes.
        group: Their process group; None is the default group.

    Raises:
        ValueError: Not ``0 <= rank < size``.

    Example:
        >>> list(Workers().rows(5))
        [0, 1, 2, 3, 4]
        >>> list(Workers(rank=1, size=2).rows(5))
        [2, 3, 4]
    """

    _parameter_constraints: ClassVar[Rules] = {
        'rank': [Interval(Integral, 0, None, closed='left')],
        'size': AT_LEAST_ONE,
        'group': [object],
    }

    rank: int = 0
    size: int = 1
    group: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rank >= self.size:
            raise ValueError(f'Workers needs rank < size, got rank={self.rank}, size={self.size}')

    @classmethod
    def of_group(cls, group: Any = None) -> Workers:
        """Return the processes of a process group.

        Args:
            group: A process group of ``torch.distributed``; None is the default group.

        Returns:
            This process alone where ``torch.distributed`` is not initialized.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(group), dist.get_world_size(group), group)

    def rows(self, num_rows: int) -> range:
        """Return the rows of this process, an equal share."""
        return range(num_rows * self.rank // self.size, num_rows * (self.rank + 1) // self.size)

    def triangle_rows(self, num_rows: int) -> range:
        """Return the rows of this process where row i costs ``num_rows - i``: an equal share of the cost."""
        start, stop = (
            round(num_rows * (1 - (1 - part / self.size) ** 0.5)) for part in (self.rank, self.rank + 1)
        )
        return range(start, stop)

    def gather_blocks(self, blocks: list[Block]) -> list[Block]:
        """Return the blocks of all processes, in the order of their ranks."""
        if self.size == 1:
            return blocks
        shares: list[list[Block]] = [[] for _ in range(self.size)]
        dist.all_gather_object(shares, blocks, group=self.group)
        return [block for share in shares for block in share]

    def gather_rows(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes, in the order of their ranks, on the device of ``rows``."""
        if self.size == 1:
            return rows
        return torch.cat([block.to(rows.device) for block in self.gather_blocks([rows.cpu()])])


ALONE = Workers()
"""This process, which shares its work with no other."""
