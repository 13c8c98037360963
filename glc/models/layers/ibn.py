"""Instance-batch normalization."""

import torch
from torch import Tensor, nn

__all__ = ['IBN']


class IBN(nn.Module):
    """Instance normalization of the first half of the channels, batch normalization of the rest.

    The layer of IBN-Net-a (Pan et al., ECCV 2018), with its parameter names ``IN`` and ``BN``.

    Args:
        num_features: Number of channels C.

    Example:
        >>> IBN(6)(torch.randn(2, 6, 8, 4)).shape
        torch.Size([2, 6, 8, 4])
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        first = num_features // 2
        self.IN = nn.InstanceNorm2d(first, affine=True)
        self.BN = nn.BatchNorm2d(num_features - first)

    def forward(self, x: Tensor) -> Tensor:
        """Normalize a map (B, C, H, W)."""
        first = self.IN.num_features
        return torch.cat([self.IN(x[:, :first].contiguous()), self.BN(x[:, first:].contiguous())], 1)
