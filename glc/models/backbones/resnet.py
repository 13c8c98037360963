"""ResNet and ResNet-IBN-a for re-identification."""

from typing import Any, ClassVar

from torch import Tensor
from torchvision.models import resnet

from glc.models.layers import IBN
from glc.registry import MODELS

from .base import BaseBackbone

__all__ = ['ResNet']

_STAGES = ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4')


@MODELS.register_module()
class ResNet(BaseBackbone):
    """torchvision's ResNet without pooling and classifier, the last stage at the resolution of the third.

    Parameter names are those of torchvision and, with IBN, of the public IBN-Net weights. Re-ID models that
    hold the network as a sequence (``base.0`` to ``base.7``, as cluster contrast saves them) load as well.

    Args:
        depth: 18, 34, 50, 101 or 152.
        ibn: Replace the first batch normalization of each block of the first three stages by
            :class:`~glc.models.layers.IBN` (IBN-a).
        last_stride: Stride of the last stage; 1 as usual in re-identification, 2 as on ImageNet.
        init_cfg: See :class:`BaseBackbone`.

    Raises:
        ValueError: If ``depth`` or ``last_stride`` is unknown.

    Example:
        >>> import torch
        >>> ResNet(50, ibn=True).eval()(torch.zeros(1, 3, 64, 32)).shape
        torch.Size([1, 2048, 4, 2])
    """

    depths: ClassVar[dict[int, list[int]]] = {
        18: [2, 2, 2, 2],
        34: [3, 4, 6, 3],
        50: [3, 4, 6, 3],
        101: [3, 4, 23, 3],
        152: [3, 8, 36, 3],
    }

    def __init__(
        self, depth: int = 50, ibn: bool = False, last_stride: int = 1, init_cfg: dict[str, Any] | None = None
    ) -> None:
        super().__init__(init_cfg)
        if depth not in self.depths:
            raise ValueError(f'ResNet depth must be one of {", ".join(map(str, self.depths))}, got {depth}')
        if last_stride not in (1, 2):
            raise ValueError(f'last_stride must be 1 or 2, got {last_stride}')
        block = resnet.BasicBlock if depth < 50 else resnet.Bottleneck
        net = resnet.ResNet(block, self.depths[depth], num_classes=1)
        self.out_channels = net.fc.in_features
        first = net.layer4[0]
        strided = first.conv1 if block is resnet.BasicBlock else first.conv2
        strided.stride = first.downsample[0].stride = (last_stride, last_stride)
        if ibn:
            for part in (*net.layer1, *net.layer2, *net.layer3):
                part.bn1 = IBN(part.bn1.num_features)
        for name in _STAGES:
            self.add_module(name, getattr(net, name))

    def forward(self, inputs: Tensor) -> Tensor:
        """Turn images (B, 3, H, W) into a map (B, out_channels, H / 16, W / 16), a 32nd with ``last_stride=2``."""
        for name in _STAGES:
            inputs = getattr(self, name)(inputs)
        return inputs

    def adapt_state_dict(
        self, state_dict: dict[str, Tensor], hw_ratio: int | None = None
    ) -> dict[str, Tensor]:
        """Name the parts of a network that was saved as a sequence."""
        if '0.weight' not in state_dict:
            return state_dict
        names = {str(index): name for index, name in enumerate(_STAGES)}
        split = {key: key.partition('.') for key in state_dict}
        return {f'{names.get(a, a)}{dot}{rest}': state_dict[key] for key, (a, dot, rest) in split.items()}
