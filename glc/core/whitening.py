"""Within-class whitening: a metric in which images of one class spread alike in all directions."""

from __future__ import annotations

import torch
from torch import Tensor

from glc.core.labels import UnusableLabelsError, group_sums, row_blocks
from glc.core.parameters import POSITIVE_SHARE, checked


@checked(shrinkage=POSITIVE_SHARE)
def within_class_whitening(features: Tensor, labels: Tensor, shrinkage: float) -> Tensor:
    """Inverse square root of the within-class covariance S, shrunk to ``(1 - a) S + a tr(S) / D``.

    Args:
        features: Features (N, D).
        labels: Integer labels (N,) in 0..C-1, every one used.
        shrinkage: Least a, in (0, 1]; see Friedman, Regularized discriminant analysis, 1989. It is more where images
            are few for so many channels, or no direction differs from the others.

    Returns:
        Symmetric float32 matrix (D, D), scaled to the identity for a = 1.

    Raises:
        UnusableLabelsError: There are fewer than two classes, or no two different images in a class.
    """
    num_classes = int(labels.max()) + 1 if len(labels) else 0
    if num_classes < 2:
        raise UnusableLabelsError(f'{num_classes} clusters: at least 2 are needed')
    means = group_sums(features, labels, num_classes) / labels.bincount()[:, None]
    covariance = means.new_zeros(means.shape[1], means.shape[1])
    for rows, numbers in row_blocks(features, labels):
        residuals = rows.double() - means[numbers]
        covariance += residuals.T @ residuals
    spread = covariance.trace() / len(covariance)
    if spread <= torch.finfo(torch.float32).eps:
        raise UnusableLabelsError('no cluster holds two different images: a metric has nothing to learn from')
    shrinkage = max(shrinkage, _shrinkage_for(covariance, len(features) - num_classes))
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance / spread + shrinkage * identity)
    return ((vectors * values.clip(min=shrinkage) ** -0.5) @ vectors.T).float()


def _shrinkage_for(scatter: Tensor, freedom: int) -> float:
    """Return the shrinkage at which a covariance (D, D), estimated with so many degrees of freedom, errs least.

    Chen et al., Shrinkage Algorithms for MMSE Covariance Estimation, 2010: the oracle approximating shrinkage, as
    scikit-learn computes it.
    """
    square, of_trace = float((scatter**2).sum()), float(scatter.trace()) ** 2
    distance = (freedom + 1) * (square - of_trace / len(scatter))
    return min(1.0, (square + of_trace) / distance) if distance > 0 else 1.0
