"""How sure a label is, without knowing the truth."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from glc.core.labels import as_labels, compact_labels


def label_confidence(distance: sparse.csr_array, labels: np.ndarray) -> np.ndarray:
    """Compute the mean similarity of every image with the other images of its own cluster.

    An image that is near all of them is surely one of them; one that hangs on by a few may be of somebody else. The
    share of an image's similarity that stays within its cluster tells much less: clusters are made so that it is large,
    for wrong images too.

    Args:
        distance: Sparse distances (N, N) in [0, 1], such as those of the consensus of
            :class:`~glc.core.labelers.AdaptiveConsensus`. A pair's similarity is 1 - distance, and 0 where no distance
            is stored.
        labels: Integer labels (N,); negative = outlier.

    Returns:
        float32 (N,) in [0, 1]; 0 for outliers.

    Raises:
        ValueError: If there are not N labels.

    Example:
        >>> distance = sparse.csr_array([[0, 0.2, 0.4], [0.2, 0, 0], [0.4, 0, 0]])
        >>> label_confidence(distance, np.array([0, 0, 0])).round(2)
        array([0.7, 0.4, 0.3], dtype=float32)
    """
    labels = compact_labels(as_labels(labels, distance.shape[0])).numpy()
    pairs = distance.tocoo()
    own = (labels[pairs.row] == labels[pairs.col]) & (labels[pairs.row] >= 0) & (pairs.row != pairs.col)
    similarity = 1 - pairs.data[own].astype(np.float64)
    total = np.bincount(pairs.row[own], similarity, len(labels))
    others = np.append(np.bincount(labels[labels >= 0]), 1)[labels] - 1  # -1 takes the last one
    return (total / np.maximum(others, 1)).astype(np.float32)
