"""Correctors that pass labels among neighbors, to compare with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.semi_supervised import LabelSpreading

from glc.core.correctors.base import BaseCorrector
from glc.core.labels import compact_labels
from glc.core.neighbors.jaccard import as_scales
from glc.core.neighbors.knn import neighbor_matrix
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import AT_LEAST_ONE, INSIDE_UNIT, NEIGHBORHOODS, SEARCH, Rules


class NoCorrection(BaseCorrector):
    """Leaves the labels as they are.

    Example:
        >>> NoCorrection()(np.eye(3), np.array([4, 4, -1]))
        array([ 0,  0, -1])
    """

    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        return labels


class NeighborVoting(BaseCorrector):
    """Gives every image the label that most of its nearest neighbors have, weighted by similarity.

    An image, outlier or not, takes a label that has more than ``min_share`` of the weight of all its neighbors, itself
    included; without such a majority it stays what it is. Outliers do not vote, but their weight counts.

    Args:
        k: Neighbors per image, itself included.
        rounds: Rounds of voting, all images at once; ends early where nothing changes.
        min_share: Share of the weight that a label must exceed, in (0, 1).
        backend: See :mod:`glc.core.parameters`; a view has its own.

    Example:
        >>> features = np.array([[1.0, 0.0], [0.9, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> NeighborVoting(k=3)(features, np.array([0, 0, -1, 1]))
        array([0, 0, 0, 1])
    """

    _parameter_constraints: ClassVar[Rules] = {
        'k': AT_LEAST_ONE,
        'rounds': AT_LEAST_ONE,
        'min_share': INSIDE_UNIT,
        **SEARCH,
    }

    def __init__(self, k: int = 12, rounds: int = 3, min_share: float = 0.5, backend: str = 'auto') -> None:
        self.k = k
        self.rounds = rounds
        self.min_share = min_share
        self.backend = backend

    @property
    def expected_k(self) -> int:
        """The k."""
        return self.k

    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        with self.timings_.stage('knn'):
            indices, similarities = view.without_cameras().neighbors(self.k).numpy()
        weights = neighbor_matrix(indices, similarities.clip(0, 1).astype(np.float64))
        enough = self.min_share * weights.sum(axis=1)
        for _ in range(self.rounds):
            voters = np.flatnonzero(labels >= 0)
            ballots = sparse.csr_array(
                (np.ones(len(voters)), (voters, labels[voters])), shape=(len(labels), labels.max() + 1)
            )
            votes = weights @ ballots
            won = votes.max(axis=1).toarray().ravel() > enough
            previous, labels = labels, np.where(won, votes.argmax(axis=1).ravel(), labels)
            if (labels == previous).all():
                break
        return compact_labels(labels)


class LabelPropagation(BaseCorrector):
    """Spreads the labels along the k-reciprocal Jaccard graph until they settle, by scikit-learn.

    Zhou et al., Learning with Local and Global Consistency, 2004 (``LabelSpreading``). Every image ends up with a share
    of every label; it takes one whose share exceeds ``min_share`` and otherwise stays what it is. Memory and time grow
    with images times clusters: four tables of 8 bytes each, 0.25 GB for 13,000 images and 600 clusters.

    Args:
        alpha: Weight of the neighbors against the image's own label, in (0, 1).
        min_share: Share that a label must exceed, in (0, 1).
        max_distance: Largest Jaccard distance of an edge, in (0, 1); its weight is 1 - distance.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'alpha': INSIDE_UNIT,
        'min_share': INSIDE_UNIT,
        'max_distance': INSIDE_UNIT,
        **NEIGHBORHOODS,
    }

    def __init__(
        self,
        alpha: float = 0.8,
        min_share: float = 0.5,
        max_distance: float = 0.7,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
    ) -> None:
        self.alpha = alpha
        self.min_share = min_share
        self.max_distance = max_distance
        self.k1 = k1
        self.k2 = k2

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range.
        """
        super().check()
        as_scales(self.k1, self.k2, type(self).__name__)

    @property
    def expected_k(self) -> int:
        """The largest k1."""
        return int(np.max(self.k1))

    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        view = view.without_cameras()
        with self.timings_.stage('knn'):
            view.graphs(self.expected_k)
        with self.timings_.stage('jaccard'):
            weights = view.distance(self.k1, self.k2, self.max_distance).copy()
            weights.data = 1 - weights.data
        tolerance = 1e-3 * len(labels)  # on the sum of all changes
        spreading = LabelSpreading(kernel=lambda *_: weights, alpha=self.alpha, max_iter=1000, tol=tolerance)
        shares = spreading.fit(view.features.cpu().numpy(), labels).label_distributions_
        return compact_labels(np.where(shares.max(axis=1) > self.min_share, shares.argmax(axis=1), labels))
