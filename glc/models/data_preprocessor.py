"""From the batches of the workers to the input of the network."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from glc.registry import MODELS
from glc.utils.transfer import to_device


@MODELS.register_module()
class ReIDDataPreprocessor(BaseDataPreprocessor):
    """Preprocessor that stacks images, converts them to RGB, normalizes them and fills the boxes of random erasing.

    The statistics live here and not in the data pipeline because they belong to the weights: whoever swaps the
    backbone swaps them too. Erased boxes are filled after normalization, as in the published recipes: with
    ``erase_fill`` as it is, or with noise where a box has an ``erase_seed``.

    Args:
        mean: Mean of R, G, B on the 0-255 scale.
        std: Standard deviation of R, G, B on the 0-255 scale.
        bgr_to_rgb: Whether the inputs are BGR, as mmcv loads them.
        erase_fill: Value of R, G, B in erased boxes, in units of the normalized input.
        channels_last: Whether images are laid out channels last in memory, which convolutions on a CPU and mixed
            precision on a GPU run faster on.
        non_blocking: Whether copies to the device may overlap with computation.

    Example:
        >>> import torch
        >>> preprocessor = ReIDDataPreprocessor(mean=[127.5] * 3, std=[127.5] * 3)
        >>> batch = dict(inputs=[torch.full((3, 4, 2), 255, dtype=torch.uint8)], data_samples=[])
        >>> preprocessor(batch)['inputs'].unique()
        tensor([1.])
    """

    def __init__(
        self,
        mean: Sequence[float] = (127.5, 127.5, 127.5),
        std: Sequence[float] = (127.5, 127.5, 127.5),
        bgr_to_rgb: bool = True,
        erase_fill: Sequence[float] = (0.485, 0.456, 0.406),
        channels_last: bool = False,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if len(mean) != 3 or len(std) != 3:
            raise ValueError(f'mean and std need 3 values each, got {mean} and {std}')
        self.bgr_to_rgb = bgr_to_rgb
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.register_buffer('mean', torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer('std', torch.tensor(std).view(3, 1, 1), persistent=False)
        self.register_buffer('erase_fill', torch.tensor(erase_fill).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return the batch with ``inputs`` as one float tensor (B, 3, H, W); ``data_samples`` stay a list.

        Args:
            data: ``inputs``, a list of uint8 tensors (3, H, W) of one size, and ``data_samples``.
            training: Unused; part of mmengine's interface.
        """
        inputs = data['inputs']
        if not torch.is_tensor(inputs):
            inputs = torch.stack(inputs)
        inputs = self.cast_data(inputs)
        if self.bgr_to_rgb:
            inputs = inputs.flip(1)
        inputs = inputs.to(torch.float32, copy=True).sub_(self.mean).div_(self.std)
        inputs = inputs.contiguous(memory_format=self.memory_format)
        erased = [
            (place, sample.erase_box, sample.get('erase_seed'))
            for place, sample in enumerate(data.get('data_samples') or ())
            if sample.get('erase_box') is not None
        ]
        if erased:
            (_erase_one_by_one if inputs.is_cpu else _erase_at_once)(inputs, erased, self.erase_fill)
        return {**data, 'inputs': inputs}


_Erased = Sequence[tuple[int, tuple[int, int, int, int], int | None]]
"""Place in the batch, ``erase_box`` and ``erase_seed`` of images."""


def _erase_one_by_one(inputs: Tensor, erased: _Erased, fill: Tensor) -> None:
    """Fill the boxes of images (B, 3, H, W)."""
    for place, (top, left, height, width), seed in erased:
        box = inputs[place, :, top : top + height, left : left + width]
        box.copy_(fill if seed is None else _noise(seed, height, width))


def _erase_at_once(inputs: Tensor, erased: _Erased, fill: Tensor) -> None:
    """Fill the boxes of images (B, 3, H, W) with the same values, in a few operations for all of them."""
    noisy = [(place, box, seed) for place, box, seed in erased if seed is not None]
    plain = [(place, box) for place, box, seed in erased if seed is None]
    if plain:
        torch.where(_inside(inputs, plain), fill, inputs, out=inputs)
    if noisy:
        noise = [_noise(seed, *box[2:]).flatten() for _, box, seed in noisy]
        mask = _inside(inputs, [(place, box) for place, box, _ in noisy]).expand_as(inputs)
        inputs.masked_scatter_(mask, to_device(torch.cat(noise), inputs.device))


def _inside(inputs: Tensor, boxes: Sequence[tuple[int, tuple[int, int, int, int]]]) -> Tensor:
    """Return a mask (B, 1, H, W) of the pixels in boxes, at most one of an image."""
    count, _, height, width = inputs.shape
    table = torch.zeros(count, 4, dtype=torch.int64)
    table[[place for place, _ in boxes]] = torch.tensor([box for _, box in boxes])
    tops, lefts, heights, widths = to_device(table, inputs.device)[..., None].unbind(1)
    y, x = (torch.arange(size, device=inputs.device) for size in (height, width))
    rows = (y >= tops) & (y < tops + heights)
    columns = (x >= lefts) & (x < lefts + widths)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def _noise(seed: int, height: int, width: int) -> Tensor:
    """Draw the noise (3, H, W) of a seed on the CPU, so that a box looks the same wherever the network runs."""
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


@MODELS.register_module()
class MultiCropDataPreprocessor(ReIDDataPreprocessor):
    """Preprocessor of several crops of every image; a batch of plain images passes as in the base class.

    Takes the arguments of :class:`ReIDDataPreprocessor`; the default statistics are those of ImageNet.

    Example:
        >>> import torch
        >>> crops = dict(local=[torch.zeros(9, 3, 8, 4, dtype=torch.uint8)] * 2)
        >>> MultiCropDataPreprocessor()(dict(inputs=crops))['inputs']['local'].shape
        torch.Size([9, 2, 3, 8, 4])
    """

    def __init__(
        self,
        mean: Sequence[float] = (123.675, 116.28, 103.53),
        std: Sequence[float] = (58.395, 57.12, 57.375),
        **kwargs: Any,
    ) -> None:
        super().__init__(mean=mean, std=std, **kwargs)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return the batch with ``inputs`` as float tensors (V, B, 3, H, W) by the name of the crops.

        Args:
            data: ``inputs``, by name a list of B uint8 tensors (V, 3, H, W), or a batch of plain images.
            training: Unused; part of mmengine's interface.
        """
        if not isinstance(data['inputs'], Mapping):
            return super().forward(data, training)
        views = {}
        for name, crops in data['inputs'].items():
            stacked = torch.stack(list(crops), 1)
            flat = super().forward({'inputs': stacked.flatten(0, 1)}, training)['inputs']
            views[name] = flat.unflatten(0, stacked.shape[:2])
        return {**data, 'inputs': views}
