"""Optimizer wrappers that mmengine lacks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from torch import nn

from glc.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Mixed precision on a CPU: the forward pass runs under bfloat16 autocast, which needs no loss scaling.

    mmengine's ``AmpOptimWrapper`` refuses to start without an accelerator.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass."""
        with super().optim_context(model), torch.autocast('cpu', dtype=torch.bfloat16):
            yield
