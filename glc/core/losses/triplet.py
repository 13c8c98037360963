"""Batch-hard triplet loss with a soft or a fixed margin.

Source: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def batch_hard_triplet_loss(features: Tensor, labels: Tensor, margin: float | None = None) -> Tensor:
    """Compute the mean over the images of ln(1 + exp(d_p - d_n)), or of max(0, d_p - d_n + margin).

    d_p is the Euclidean distance of an image to the farthest image of its identity in the batch, d_n to the nearest one
    of another identity. If no other image has its identity, d_p is 0. If the batch has one identity, the loss is 0.

    Args:
        features: (B, D), of any length, B >= 1.
        labels: Identities (B,), integers.
        margin: Fixed margin; None for the soft one.

    Returns:
        Scalar, in float32 or wider, also under autocast.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> features = torch.tensor([[0.0], [1.0], [3.0], [4.0]])
        >>> loss = batch_hard_triplet_loss(features, torch.tensor([0, 0, 1, 1]))
        >>> expected = torch.tensor([1 - 3.0, 1 - 2.0, 1 - 2.0, 1 - 3.0]).exp().log1p().mean()
        >>> bool(loss.isclose(expected))
        True
    """
    if features.ndim != 2 or labels.shape != features.shape[:1] or not len(features):
        raise ValueError(
            f'the triplet loss needs (B, D) features and (B,) labels with B >= 1, got {tuple(features.shape)} '
            f'and {tuple(labels.shape)}'
        )
    with torch.autocast(features.device.type, enabled=False):
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        # Not |x|^2 + |y|^2 - 2 <x, y>, which loses the small distances of long features.
        distances = torch.cdist(x, x, compute_mode='donot_use_mm_for_euclid_dist')
        same = labels[:, None] == labels
        farthest = distances.masked_fill(~same, 0).amax(1)
        nearest = distances.masked_fill(same, torch.inf).amin(1)
        gap = farthest - nearest
        return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()
