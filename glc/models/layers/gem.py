"""Generalized mean pooling."""

import torch
from torch import Tensor, nn

__all__ = ['GeM']


class GeM(nn.Module):
    """Generalized mean over the image: `(mean(x^p))^(1/p)` per channel (Radenovic et al., TPAMI 2019).

    Computed in float32 at least, since cubes leave the range of half precision.

    Args:
        p: Exponent; 1 is the mean of the positive part, infinity the maximum.
        learnable: Train the exponent (the GeM-P variant) under the name ``p``.
        eps: Smallest activation; smaller ones are raised to it.

    Raises:
        ValueError: If ``p`` is not positive.

    Example:
        >>> GeM(p=3)(torch.ones(2, 5, 16, 8)).shape
        torch.Size([2, 5])
    """

    def __init__(self, p: float = 3.0, learnable: bool = False, eps: float = 1e-6) -> None:
        super().__init__()
        if p <= 0:
            raise ValueError(f'GeM needs p > 0, got {p}')
        self.p = nn.Parameter(torch.tensor([float(p)])) if learnable else float(p)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to vectors (B, C)."""
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        return x.clamp(min=self.eps).pow(self.p).mean((2, 3)).pow(1 / self.p)

    def extra_repr(self) -> str:
        """Show the exponent when the module is printed."""
        return f'p={float(self.p):g}, learnable={isinstance(self.p, nn.Parameter)}'
