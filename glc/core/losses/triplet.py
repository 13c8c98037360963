"""Batch-hard triplet loss with a soft or a fixed margin.

Source: Hermans et al., In Defense of the Triplet Loss for Person Re-Identification, 2017.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glc.core.parameters import NUMBER, checked


@checked(margin=[*NUMBER, None])
def batch_hard_triplet_loss(features: Tensor, labels: Tensor, margin: float | None = None) -> Tensor:
    """Compute the mean over the images of ln(1 + exp(d_p - d_n)), or of max(0, d_p - d_n + margin).

    d_p is the Euclidean distance of an image to the farthest image of its identity in the batch, d_n to the nearest one
    of another identity. If no other image has its identity, d_p is 0. If the batch has one identity, the loss is 0. An
    image of unknown identity adds 0, and is neither the same nor another person to the others.

    Args:
        features: (B, D), of any length, B >= 1.
        labels: Identities (B,), integers; negative = unknown.
        margin: Fixed margin, in units of the distance; None for the soft one.

    Returns:
        Scalar, in float32 or wider, also under autocast.

    Raises:
        ValueError: If the shapes do not match, or the labels are not integers.

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
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f'labels of the triplet loss must be integers, got {labels.dtype}')
    with torch.autocast(features.device.type, enabled=False):
        x = features.to(torch.promote_types(features.dtype, torch.float32))
        # Not |x|^2 + |y|^2 - 2 <x, y>, which loses the small distances of long features.
        distances = torch.cdist(x, x, compute_mode='donot_use_mm_for_euclid_dist')
        same = labels[:, None] == labels
        known = (labels >= 0) & (labels[:, None] >= 0)
        farthest = distances.masked_fill(~(same & known), 0).amax(1)
        nearest = distances.masked_fill(same | ~known, torch.inf).amin(1)
        gap = farthest - nearest
        return (F.softplus(gap) if margin is None else F.relu(gap + margin)).mean()
