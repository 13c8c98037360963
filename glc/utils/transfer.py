"""Copies from the CPU to a GPU."""

import torch
from torch import Tensor

__all__ = ['to_device']


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device; the CPU does not wait until a GPU has done its work so far.

    Args:
        tensor: The tensor, on the CPU.
        device: Where the copy goes; the CPU itself gets no copy.

    Returns:
        The tensor on the device.
    """
    if device.type != 'cuda':
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
