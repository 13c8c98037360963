"""Batch normalization of every camera's images by their own statistics, in a network that is trained already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ['CameraStatistics']


class CameraStatistics:
    """The statistics by which the BatchNorm layers of a network normalize the images of each camera.

    Cameras differ in light, color and background, which moves the activations. Where the images of every camera are
    normalized by their own mean and variance, the images of a person in two cameras come closer (Zhuang et al.,
    Rethinking the Distribution Gap of Person Re-identification with Camera-based Batch Normalization, ECCV 2020). The
    weights stay as they are. A camera that was not measured takes the statistics of the network.

    Args:
        network: Network in evaluation mode.
        num_cameras: Cameras, numbered from 0.

    Attributes:
        sums: float64 (num_cameras, S), sums over the batches measured of the mean and variance of every layer.
        counts: float64 (num_cameras, S), how many there were. Processes that share the batches add up both.

    Raises:
        ValueError: No layer of the network has running statistics.

    Example:
        >>> network = nn.Sequential(nn.BatchNorm1d(2)).eval()
        >>> images = torch.tensor([[4.0, 0.0], [6.0, 2.0]])
        >>> statistics = CameraStatistics(network, num_cameras=1)
        >>> with statistics.restored():
        ...     with statistics.measuring(0):
        ...         normalized = network(images)
        ...     statistics.take(0)
        ...     torch.equal(network(images), normalized)
        True
        >>> network[0].running_mean.tolist()
        [0.0, 0.0]
    """

    def __init__(self, network: nn.Module, num_cameras: int) -> None:
        self._layers = [
            layer
            for layer in network.modules()
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None
        ]
        if not self._layers:
            raise ValueError(
                f'{type(network).__name__} has no BatchNorm layer with running statistics, so there is nothing to '
                'adapt to cameras: leave camera_norm=False'
            )
        self._buffers = [buffer for layer in self._layers for buffer in _statistics_of(layer)]
        self._sizes = [len(buffer) for buffer in self._buffers]
        self._own = torch.cat(self._buffers)
        self.sums = self._own.new_zeros(num_cameras, len(self._own), dtype=torch.float64)
        self.counts = torch.zeros_like(self.sums)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Give the network its own statistics back at the end."""
        try:
            yield
        finally:
            self._put(self._own)

    @contextmanager
    def measuring(self, camera: int) -> Iterator[None]:
        """Measure the batches that pass the network, all of one camera; each is normalized by its own statistics."""
        totals = zip(
            self.sums[camera].split(self._sizes), self.counts[camera].split(self._sizes), strict=True
        )
        hooks = [
            layer.register_forward_pre_hook(partial(_measure, of_mean, of_variance))
            for layer, of_mean, of_variance in zip(self._layers, totals, totals, strict=True)
        ]
        try:
            with torch.compiler.set_stance('force_eager'):  # compiled code may know no hooks
                yield
        finally:
            for hook in hooks:
                hook.remove()

    def take(self, camera: int) -> None:
        """Normalize by the statistics of a camera from now on, by those of the network where it is negative."""
        if camera < 0:
            self._put(self._own)
            return
        counts = self.counts[camera]
        self._put(torch.where(counts > 0, self.sums[camera] / counts.clamp(min=1), self._own))

    @contextmanager
    def applied(self) -> Iterator[Callable[[Tensor], None]]:
        """Normalize every image by the statistics of its camera, in batches of several cameras.

        Yields:
            A function that is to be told the camera (B,) of each image of a batch before it passes, negative where
            those of the network are meant.
        """
        found = torch.where(self.counts > 0, self.sums / self.counts.clamp(min=1), self._own.double())
        table = torch.cat([found, self._own[None].double()]).float()  # -1 is the last row
        parts = table.split(self._sizes, 1)
        cameras: list[Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(partial(_moved, mean, variance, cameras))
            for layer, mean, variance in zip(self._layers, parts[::2], parts[1::2], strict=True)
        ]

        def tell(numbers: Tensor) -> None:
            cameras[:] = [numbers.to(table.device)]

        try:
            yield tell
        finally:
            for hook in hooks:
                hook.remove()

    def _put(self, statistics: Tensor) -> None:
        for buffer, values in zip(self._buffers, statistics.split(self._sizes), strict=True):
            buffer.copy_(values)


def _statistics_of(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Return mean and variance, which change in place."""
    return layer.get_buffer('running_mean'), layer.get_buffer('running_var')


def _moved(
    means: Tensor, variances: Tensor, cameras: list[Tensor], layer: nn.Module, inputs: tuple[Tensor]
) -> tuple[Tensor]:
    """Move the input (B, C, ...) of a layer so that its own statistics then do what those of the cameras would."""
    x = inputs[0]
    (numbers,) = cameras
    if len(numbers) != len(x):
        raise RuntimeError(
            f'the cameras of {len(numbers)} images are known, and {len(x)} pass a BatchNorm layer'
        )
    shape = (-1, x.shape[1], *[1] * (x.ndim - 2))
    mean, variance = (values[numbers].view(shape) for values in (means, variances))
    own_mean, own_variance = (values.view(shape) for values in _statistics_of(layer))
    eps = cast(_BatchNorm, layer).eps
    scale = ((own_variance + eps) / (variance + eps)).sqrt()
    return (((x.float() - mean) * scale + own_mean).to(x.dtype),)


def _measure(
    of_mean: tuple[Tensor, Tensor],
    of_variance: tuple[Tensor, Tensor],
    layer: nn.Module,
    inputs: tuple[Tensor],
) -> None:
    """Give a layer mean and variance of its input (B, C, ...), and add each to its sum and 1 to its count."""
    x = inputs[0].float()
    variance, mean = torch.var_mean(x, [0, *range(2, x.ndim)])
    for buffer, value, (total, count) in zip(
        _statistics_of(layer), (mean, variance), (of_mean, of_variance), strict=True
    ):
        buffer.copy_(value)
        total += value
        count += 1
