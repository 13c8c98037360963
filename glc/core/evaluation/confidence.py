"""How sure a label is, without knowing the truth."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from glc.core.labels import as_labels


def label_confidence(distance: sparse.csr_array, labels: np.ndarray) -> np.ndarray:
    """Compute the share of every image's similarity that goes to images of its own cluster.

    An image whose near ones are all in its cluster has 1; one that lies between two clusters about 0.5.

    Args:
        distance: Sparse distances (N, N) in [0, 1], such as those of the consensus of
            :class:`~glc.core.labelers.AdaptiveConsensus`; what is not stored has no similarity. A pair's similarity is
            1 - distance.
        labels: Integer labels (N,); negative = outlier.

    Returns:
        float32 (N,) in [0, 1]; 0 for outliers, and for images without a similar one.

    Raises:
        ValueError: If there are not N labels.

    Example:
        >>> distance = sparse.csr_array([[0, 0.2, 0.8], [0.2, 0, 0], [0.8, 0, 0]])
        >>> label_confidence(distance, np.array([0, 0, -1]))
        array([0.8, 1. , 0. ], dtype=float32)
    """
    labels = as_labels(labels, distance.shape[0]).numpy()
    pairs = distance.tocoo()
    others = pairs.row != pairs.col
    rows, columns, similarity = (
        pairs.row[others],
        pairs.col[others],
        1 - pairs.data[others].astype(np.float64),
    )
    own = (labels[rows] == labels[columns]) & (labels[rows] >= 0)
    total = np.bincount(rows, similarity, len(labels))
    within = np.bincount(rows[own], similarity[own], len(labels))
    return np.divide(within, total, out=np.zeros(len(labels)), where=total > 0).astype(np.float32)
