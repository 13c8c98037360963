"""Center loss: features are drawn to the center of their identity.

Source: Wen et al., A Discriminative Feature Learning Approach for Deep Face Recognition, ECCV 2016, with the settings
of Luo et al., Bag of Tricks and a Strong Baseline for Deep Person Re-Identification, 2019, and of TransReID.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glc.core.parameters import AT_LEAST_ONE, POSITIVE, checked

__all__ = ['CenterLoss']


class CenterLoss(nn.Module):
    """Mean of the squared Euclidean distances of features to the centers of their identities.

    The centers start at random from a standard normal distribution. :meth:`update` moves them by a step of plain
    gradient descent on this loss, with a rate of their own: neither weight of the loss, optimizer nor schedule of the
    network counts for them.

    Args:
        num_classes: Number C of identities.
        in_channels: Dimension D of the features.
        lr: Learning rate of the centers.

    Raises:
        ValueError: If an argument is out of its range, or shapes do not match.

    Example:
        >>> loss = CenterLoss(num_classes=2, in_channels=3, lr=0.5)
        >>> features, labels = torch.ones(4, 3), torch.tensor([0, 0, 1, 1])
        >>> before = loss(features, labels)
        >>> loss.update(features, labels)
        >>> bool(loss(features, labels) < before)
        True
    """

    centers: Tensor

    @checked(num_classes=AT_LEAST_ONE, in_channels=AT_LEAST_ONE, lr=POSITIVE)
    def __init__(self, num_classes: int, in_channels: int, lr: float = 0.5) -> None:
        super().__init__()
        self.lr = lr
        self.register_buffer('centers', torch.randn(num_classes, in_channels))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Compute the loss of a batch, without side effect.

        Args:
            features: (B, D).
            labels: Identities (B,) in [0, C).

        Returns:
            Scalar, in float32 or wider, also under autocast.
        """
        return self._gaps(features, labels).square().sum(1).mean()

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Move the centers of the batch's identities towards their features.

        Args:
            features: (B, D); of all processes, where there are several, so that the centers stay equal.
            labels: Identities (B,) in [0, C).
        """
        step = 2 * self.lr / len(features) * self._gaps(features, labels)
        self.centers.index_add_(0, labels, step.to(self.centers.dtype))

    def _gaps(self, features: Tensor, labels: Tensor) -> Tensor:
        if (
            features.ndim != 2
            or features.shape[1:] != self.centers.shape[1:]
            or labels.shape != features.shape[:1]
        ):
            raise ValueError(
                f'the center loss needs (B, {self.centers.shape[1]}) features and (B,) labels, got '
                f'{tuple(features.shape)} and {tuple(labels.shape)}'
            )
        return features.to(torch.promote_types(features.dtype, torch.float32)) - self.centers[labels]
