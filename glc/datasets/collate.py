"""From the items of a batch to the batch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import default_collate


def stack_images(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Put packed images together, those of one size as one tensor.

    One tensor passes between processes, and to a GPU, in one piece.

    Args:
        items: What :class:`~glc.datasets.transforms.PackReIDInputs` or ``PackMultiCrop`` gives, of every image.

    Returns:
        ``inputs``, uint8 (B, 3, H, W), by name (B, V, 3, H, W) for several crops, a list for images of different sizes;
        everything else as a list.

    Example:
        >>> batch = stack_images([dict(inputs=torch.zeros(3, 8, 4), data_samples=None)] * 5)
        >>> batch['inputs'].shape, len(batch['data_samples'])
        (torch.Size([5, 3, 8, 4]), 5)
    """
    batch: dict[str, Any] = pseudo_collate(items)
    inputs = batch['inputs']
    if isinstance(inputs, Mapping):
        batch['inputs'] = {name: _stacked(images) for name, images in inputs.items()}
    else:
        batch['inputs'] = _stacked(inputs)
    return batch


def _stacked(images: list[torch.Tensor]) -> Any:
    return default_collate(images) if len({image.shape for image in images}) == 1 else images
