"""From tokens to the outputs that self-distillation compares."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from glc.registry import MODELS


@MODELS.register_module()
class ProjectionHead(BaseModule):
    """Projection head of DINO: an MLP, L2 normalization, and a linear layer whose rows have unit norm.

    The last layer is a weight-normed one whose gains are fixed at 1, so its outputs are cosines.

    Args:
        in_channels: Dimension D of a token.
        hidden_channels: Width of the two hidden layers.
        bottleneck_channels: Dimension that is normalized.
        num_outputs: Number K of outputs.

    Example:
        >>> head = ProjectionHead(48, hidden_channels=64, bottleneck_channels=16, num_outputs=100)
        >>> outputs = head(torch.randn(2, 48))
        >>> outputs.shape, bool((outputs.abs() <= 1 + 1e-6).all())
        (torch.Size([2, 100]), True)
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int = 2048,
        bottleneck_channels: int = 256,
        num_outputs: int = 65536,
    ) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        self.mlp = nn.Sequential(
            nn.Linear(in_channels, hidden_channels),
            nn.GELU(),
            nn.Linear(hidden_channels, hidden_channels),
            nn.GELU(),
            nn.Linear(hidden_channels, bottleneck_channels),
        )
        self.last_weight = nn.Parameter(torch.empty(num_outputs, bottleneck_channels))
        nn.init.trunc_normal_(self.last_weight, std=0.02)
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens (B, D) to outputs (B, K)."""
        return F.linear(F.normalize(self.mlp(tokens)), F.normalize(self.last_weight))
