"""From tokens to the outputs that self-distillation compares."""

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from glc.registry import MODELS


@MODELS.register_module()
class ProjectionHead(BaseModule):
    """Projection head of DINO: an MLP, L2 normalization, and a weight-normed linear layer.

    The gains of the last layer are 1, so its outputs are cosines, unless they are learned.

    Args:
        in_channels: Dimension D of a token.
        hidden_channels: Width of the two hidden layers.
        bottleneck_channels: Dimension that is normalized.
        num_outputs: Number K of outputs.
        batch_norm: Normalize batches after the hidden layers.
        learn_gain: Learn the gains of the last layer.

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
        batch_norm: bool = False,
        learn_gain: bool = False,
    ) -> None:
        super().__init__()
        self.num_outputs = num_outputs
        hidden: list[nn.Module] = []
        for channels in (in_channels, hidden_channels):
            hidden.append(nn.Linear(channels, hidden_channels))
            if batch_norm:
                hidden.append(nn.BatchNorm1d(hidden_channels))
            hidden.append(nn.GELU())
        self.mlp = nn.Sequential(*hidden, nn.Linear(hidden_channels, bottleneck_channels))
        # The rows start as those of a linear layer: shorter ones would turn faster.
        self.last_weight = nn.Parameter(
            nn.Linear(bottleneck_channels, num_outputs, bias=False).weight.detach()
        )
        self.last_gain = nn.Parameter(torch.ones(num_outputs)) if learn_gain else None
        for module in self.mlp:
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Project tokens (B, D) to outputs (B, K)."""
        cosines = F.linear(F.normalize(self.mlp(tokens)), F.normalize(self.last_weight))
        return cosines if self.last_gain is None else self.last_gain * cosines
