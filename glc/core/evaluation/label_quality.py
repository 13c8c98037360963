"""Scores of pseudo labels against the true identities, and the change from one labeling to the next."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from torch import Tensor

from glc.core.labels import as_labels, as_unit_features
from glc.core.neighbors.knn import knn_graph
from glc.core.parameters import AT_LEAST_ONE, StrOptions, checked


@checked(outliers=[StrOptions({'singletons', 'dropped'})])
def label_quality(
    labels: np.ndarray | Tensor, truth: np.ndarray | Tensor, outliers: str = 'singletons'
) -> dict[str, float]:
    """Compare a labeling with the true identities.

    Pairwise scores count pairs of different images:

    - Precision is the share of the pairs in one cluster that are of one identity.
    - Recall is the share of the pairs of one identity that are in one cluster.

    BCubed scores (Bagga and Baldwin, 1998) are means over the images:

    - Precision is the share of an image's cluster that is of its identity.
    - Recall is the share of its identity that is in its cluster.

    F is the harmonic mean of the two. A share of nothing is 0.

    Args:
        labels: Integer labels (N,); negative = outlier.
        truth: True identities (N,); images of unknown identity (negative) are left out of everything.
        outliers: 'singletons' scores every outlier as a cluster of its own, 'dropped' leaves outliers out of
            the scores.

    Returns:
        Fractions 'pairwise_precision', 'pairwise_recall', 'pairwise_f', 'bcubed_precision', 'bcubed_recall',
        'bcubed_f', 'nmi' (normalized mutual information, arithmetic mean), and the numbers of 'clusters' and
        'outliers' (as floats).

    Raises:
        ValueError: Lengths differ, labels are not integers, or ``outliers`` is not one of the two words.

    Example:
        >>> scores = label_quality(np.array([0, 0, 0, 1, -1]), np.array([7, 7, 8, 8, 8]))
        >>> {name: round(value, 3) for name, value in scores.items() if name.startswith('pairwise')}
        {'pairwise_precision': 0.333, 'pairwise_recall': 0.25, 'pairwise_f': 0.286}
    """
    found, identities = _as_arrays(labels, truth, ('labels', 'truth'))
    known = identities >= 0
    found, identities = found[known], identities[known]
    num_clusters = len(np.unique(found[found >= 0]))
    num_outliers = np.count_nonzero(found < 0)
    if outliers == 'singletons':
        found = _singletons(found)
    else:
        found, identities = found[found >= 0], identities[found >= 0]
    shared, cluster_sizes, identity_sizes = _contingency(found, identities)
    shared_pairs = _pairs(shared.data).sum()
    precision = _fraction(shared_pairs, _pairs(cluster_sizes).sum())
    recall = _fraction(shared_pairs, _pairs(identity_sizes).sum())
    squares = shared.data.astype(np.float64) ** 2
    bcubed_precision = _fraction((squares / cluster_sizes[shared.row]).sum(), len(found))
    bcubed_recall = _fraction((squares / identity_sizes[shared.col]).sum(), len(found))
    return {
        'pairwise_precision': precision,
        'pairwise_recall': recall,
        'pairwise_f': _fraction(2 * precision * recall, precision + recall),
        'bcubed_precision': bcubed_precision,
        'bcubed_recall': bcubed_recall,
        'bcubed_f': _fraction(2 * bcubed_precision * bcubed_recall, bcubed_precision + bcubed_recall),
        'nmi': float(normalized_mutual_info_score(identities, found)) if len(found) else 0.0,
        'clusters': float(num_clusters),
        'outliers': float(num_outliers),
    }


def label_change(old: np.ndarray | Tensor, new: np.ndarray | Tensor) -> float:
    """Measure how much two labelings of the same images differ: 1 - adjusted Rand index, outliers as singletons.

    Every image counts, so joining or leaving a cluster is a change; the cluster numbers do not matter.

    Args:
        old: Integer labels (N,); negative = outlier.
        new: Integer labels (N,); negative = outlier.

    Returns:
        0 for the same partition, about 1 for unrelated ones (and never more).

    Raises:
        ValueError: Lengths differ or labels are not integers.

    Example:
        >>> label_change(np.array([0, 0, 1, 1, -1]), np.array([5, 5, 2, 2, -1]))
        0.0
    """
    first, second = _as_arrays(old, new, ('old', 'new'))
    return 1 - max(0.0, float(adjusted_rand_score(_singletons(first), _singletons(second))))


@checked(k=AT_LEAST_ONE)
def knn_purity(features: np.ndarray | Tensor, truth: np.ndarray | Tensor, k: int = 10) -> float:
    """Measure the share of the k nearest neighbors that show the same person, as a mean over the images.

    Neighbors are found by cosine similarity; an image is not its own neighbor. Images of unknown identity (-1) are left
    out. An identity of fewer than k + 1 images cannot reach 1.

    Args:
        features: Features (N, D).
        truth: True identities (N,).
        k: Neighbors per image.

    Raises:
        ValueError: If there are not more than k images of known identity, features are not finite, or shapes do not
            match.

    Example:
        >>> knn_purity(np.array([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9]]), np.array([4, 4, 7]), k=1)
        0.6666666666666666
    """
    x = as_unit_features(features)
    identities = as_labels(truth, len(x), 'truth').cpu().numpy()
    known = np.flatnonzero(identities >= 0)
    if k >= len(known):
        raise ValueError(
            f'k of knn_purity must be less than the {len(known)} images of known identity, got {k}'
        )
    identities = identities[known]
    neighbors = knn_graph(x[torch.from_numpy(known)], k + 1).numpy()[0][:, 1:]
    return float((identities[neighbors] == identities[:, None]).mean())


def _as_arrays(
    first: np.ndarray | Tensor, second: np.ndarray | Tensor, names: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray]:
    one = as_labels(first, name=names[0])
    return one.cpu().numpy(), as_labels(second, len(one), names[1]).cpu().numpy()


def _singletons(labels: np.ndarray) -> np.ndarray:
    """Give every outlier a cluster of its own."""
    return np.where(labels < 0, labels.max(initial=-1) + 1 + np.arange(len(labels)), labels)


def _contingency(labels: np.ndarray, truth: np.ndarray) -> tuple[sparse.coo_array, np.ndarray, np.ndarray]:
    """Count the images in every (cluster, identity), in every cluster and of every identity."""
    _, rows, cluster_sizes = np.unique(labels, return_inverse=True, return_counts=True)
    _, columns, identity_sizes = np.unique(truth, return_inverse=True, return_counts=True)
    shape = (len(cluster_sizes), len(identity_sizes))
    table = sparse.coo_array((np.ones(len(rows), np.int64), (rows, columns)), shape=shape)
    table.sum_duplicates()
    return table, cluster_sizes, identity_sizes


def _pairs(sizes: np.ndarray) -> np.ndarray:
    return sizes * (sizes - 1) // 2


def _fraction(part: float, whole: float) -> float:
    return float(part / whole) if whole else 0.0
