"""Optimizer wrappers and constructors that mmengine lacks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from timm.optim.lars import Lars
from torch import nn

from glc.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS, OPTIMIZERS

OPTIMIZERS.register_module(name='LARS', module=Lars)


@OPTIM_WRAPPERS.register_module(name=['BFloat16OptimWrapper', 'CPUAmpOptimWrapper'])
class BFloat16OptimWrapper(OptimWrapper):
    """Mixed precision: the forward pass runs under bfloat16 autocast, which needs no loss scaling.

    mmengine's ``AmpOptimWrapper`` refuses to start without an accelerator, and scales in any case.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Enter the context of the forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


CPUAmpOptimWrapper = BFloat16OptimWrapper  # its name until it computed on GPUs


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DecayMatricesConstructor(DefaultOptimWrapperConstructor):
    """Two parameter groups: tensors of two or more dimensions with weight decay; biases and norms without.

    Parameters that are not trained, such as those of a teacher, are left out. ``paramwise_cfg`` is not used.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer wrapper of a model, wrapped for distributed training or not."""
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = [
            {'params': [parameter for parameter in trained if parameter.ndim > 1]},
            {'params': [parameter for parameter in trained if parameter.ndim <= 1], 'weight_decay': 0.0},
        ]
        optimizer = OPTIMIZERS.build({**self.optimizer_cfg, 'params': groups})
        return OPTIM_WRAPPERS.build(
            {'type': 'OptimWrapper', **self.optim_wrapper_cfg, 'optimizer': optimizer}
        )
