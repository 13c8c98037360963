"""OSNet: omni-scale feature learning for person re-identification (Zhou et al., ICCV 2019)."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from glc.registry import MODELS

from .base import BaseBackbone

__all__ = ['OSNet']


class _ConvNorm(nn.Module):
    """Convolution without bias, batch normalization and, unless ``linear``, ReLU."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)
        self.relu = nn.Identity() if linear else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv(x)))


class _LightConv(nn.Module):
    """Lite 3x3 convolution: pointwise, depthwise, batch normalization, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False, groups=channels)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn(self.conv2(self.conv1(x))))


class _ChannelGate(nn.Module):
    """Weights in (0, 1) for every channel, from its mean over the image."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.relu = nn.ReLU()
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class _OmniScaleBlock(nn.Module):
    """Bottleneck whose streams of one to four lite convolutions are mixed by one shared channel gate."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        mid = out_channels // 4
        self.conv1 = _ConvNorm(in_channels, mid, 1)
        self.conv2a = _LightConv(mid)
        self.conv2b = nn.Sequential(*(_LightConv(mid) for _ in range(2)))
        self.conv2c = nn.Sequential(*(_LightConv(mid) for _ in range(3)))
        self.conv2d = nn.Sequential(*(_LightConv(mid) for _ in range(4)))
        self.gate = _ChannelGate(mid)
        self.conv3 = _ConvNorm(mid, out_channels, 1, linear=True)
        same = in_channels == out_channels
        self.downsample = nn.Identity() if same else _ConvNorm(in_channels, out_channels, 1, linear=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        y = sum(self.gate(stream(y)) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d))
        return torch.relu(self.conv3(y) + self.downsample(x))


@MODELS.register_module()
class OSNet(BaseBackbone):
    """OSNet with the parameter names of torchreid, so that its published weights load.

    Returns the global feature as torchreid evaluates it: after the last linear layer, batch normalization and
    ReLU. Convolutions start from the Kaiming distribution, the linear layer from a normal one.

    Args:
        width: Channel multiplier, ``'x1_0'``, ``'x0_75'``, ``'x0_5'`` or ``'x0_25'``.
        feature_dim: Dimension D of the output.
        init_cfg: See :class:`BaseBackbone`.

    Raises:
        ValueError: If ``width`` is unknown.

    Example:
        >>> import torch
        >>> OSNet('x0_25').eval()(torch.zeros(2, 3, 256, 128)).shape
        torch.Size([2, 512])
    """

    widths: ClassVar[dict[str, tuple[int, int, int, int]]] = {
        'x1_0': (64, 256, 384, 512),
        'x0_75': (48, 192, 288, 384),
        'x0_5': (32, 128, 192, 256),
        'x0_25': (16, 64, 96, 128),
    }
    non_backbone_keys: ClassVar[tuple[str, ...]] = (
        'classifier',
        'bottleneck',
    )  # fc.* is part of this backbone

    def __init__(
        self, width: str = 'x1_0', feature_dim: int = 512, init_cfg: dict[str, Any] | None = None
    ) -> None:
        super().__init__(init_cfg)
        if width not in self.widths:
            raise ValueError(f'OSNet width must be one of {", ".join(self.widths)}, got {width!r}')
        stem, *stages = self.widths[width]
        self.out_channels = feature_dim
        self.conv1 = _ConvNorm(3, stem, 7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2 = self._stage(stem, stages[0])
        self.conv3 = self._stage(stages[0], stages[1])
        self.conv4 = self._stage(stages[1], stages[2], reduce=False)
        self.conv5 = _ConvNorm(stages[2], stages[2], 1)
        self.fc = nn.Sequential(nn.Linear(stages[2], feature_dim), nn.BatchNorm1d(feature_dim), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    @staticmethod
    def _stage(in_channels: int, out_channels: int, reduce: bool = True) -> nn.Sequential:
        stage = nn.Sequential(
            _OmniScaleBlock(in_channels, out_channels), _OmniScaleBlock(out_channels, out_channels)
        )
        if reduce:
            stage.append(nn.Sequential(_ConvNorm(out_channels, out_channels, 1), nn.AvgPool2d(2)))
        return stage

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) into global features (B, D)."""
        return self.fc(self._map(inputs).mean((2, 3)))

    def attention_maps(self, inputs: Tensor) -> dict[str, Tensor]:
        """See :class:`BaseBackbone`."""
        return {'activation': self._map(inputs).mean(1)}

    def _map(self, inputs: Tensor) -> Tensor:
        """Return the last map (B, C, H / 16, W / 16)."""
        x = self.maxpool(self.conv1(inputs))
        return self.conv5(self.conv4(self.conv3(self.conv2(x))))
