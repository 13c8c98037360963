"""A metric learned from labels: within-class whitening."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from glc.core.labels import compact_labels
from glc.core.neighbors.view import FeatureView
from glc.core.whitening import within_class_whitening


def metric_of_labels(view: FeatureView[Any], labels: np.ndarray, shrinkage: float) -> Tensor:
    """Learn the metric (D, D) of :func:`within_class_whitening` from the labeled images of a view.

    Args:
        view: Features of N images, D channels.
        labels: Labels (N,), negative = outlier.
        shrinkage: See :func:`within_class_whitening`.

    Raises:
        UnusableLabelsError: See :func:`within_class_whitening`.
    """
    known = torch.from_numpy(labels).to(view.device)
    return within_class_whitening(view.centered[known >= 0], compact_labels(known[known >= 0]), shrinkage)


def learned_view(view: FeatureView[Any], mean: Tensor, metric: Tensor) -> FeatureView[Any]:
    """Return the view of the features in a metric, on the device of the view.

    Args:
        view: Features of N images, D channels.
        mean: What is taken off the centered features, (D,).
        metric: Matrix (D, D) that they are multiplied with.
    """
    return view.with_features((view.centered - mean.to(view.device)) @ metric.to(view.device))
