"""The interface of label correctors: from noisy pseudo labels, and the features they came from, to better labels."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from torch import Tensor

from glc.core.labelers.base import as_view
from glc.core.labels import ArrayOrTensor, UnusableLabelsError, as_labels, compact_labels
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import Checked, Rules
from glc.core.timing import Timings


class BaseCorrector(Checked, BaseEstimator, ABC):
    """Base of label correctors.

    A subclass implements ``_correct`` and declares its parameters in ``_parameter_constraints``. Parameters are stored
    unchanged under their own names (scikit-learn's convention), so ``get_params``, ``set_params``, ``repr`` and
    ``sklearn.base.clone`` work.

    Attributes:
        timings_: Seconds of the last call's stages, see :class:`glc.core.timing.Timings`.

    Example:
        >>> class Unchanged(BaseCorrector):
        ...     def _correct(self, view, labels):
        ...         return labels
        >>> Unchanged()(np.eye(3), np.array([4, 4, -1]))
        array([ 0,  0, -1])
    """

    _parameter_constraints: ClassVar[Rules] = {}
    backend: str = 'auto'
    timings_: Timings

    def __call__(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Correct pseudo labels.

        Labels that nothing can be learned from do not stop a training run: they come back as they are, only
        renumbered without gaps, with a warning.

        Args:
            features: Features (N, D), an array or a tensor, whose rows are scaled to unit length first; or a view.
            labels: Integer labels (N,); negative = outlier.
            cam_ids: Camera of every image (N,), negative where it is unknown; a view has its own.

        Returns:
            int64 labels (N,), of the kind and on the device of the features: -1 = outlier, others 0..C-1.

        Raises:
            ValueError: Features are empty, not (N, D) or not finite, labels are not N integers, or a parameter is out
                of range.
        """
        self.check()
        view = as_view(features, cam_ids, self.backend, self.expected_k)
        try:
            return self.correct(view, labels)
        except UnusableLabelsError as error:
            warnings.warn(f'labels left as they are: {error}', stacklevel=2)
            return view.result(_checked_labels(labels, view))

    def correct(self, view: FeatureView[ArrayOrTensor], labels: np.ndarray | Tensor) -> ArrayOrTensor:
        """Correct pseudo labels, or say why that is impossible.

        Args:
            view: Features of N images, and their cameras.
            labels: Integer labels (N,); negative = outlier.

        Returns:
            int64 labels (N,), of the kind and on the device of the features of the view.

        Raises:
            UnusableLabelsError: The labels hold nothing to learn from.
            ValueError: The labels are not N integers, or a parameter is out of range.
        """
        self.check()
        known = _checked_labels(labels, view)
        if known.max() < 0:
            raise UnusableLabelsError('no image has a label')
        self.timings_ = Timings()
        return view.result(self._correct(view, known))

    @property
    def expected_k(self) -> int:
        """The largest neighborhood that is asked of a view."""
        return 1

    @abstractmethod
    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        """Correct labels (N,) of int64, -1 = outlier, others 0..C-1, which are not to be changed."""


def _checked_labels(labels: np.ndarray | Tensor, view: FeatureView[Any]) -> np.ndarray:
    return compact_labels(as_labels(labels, len(view))).cpu().numpy()


def penalize_different_labels(
    distance: sparse.csr_array, labels: np.ndarray, weight: float
) -> sparse.csr_array:
    """Make images with different labels a little less similar.

    Where the graph is undecided, the labels decide, which keeps what was right; where it is sure, they do not.

    Args:
        distance: Sparse distances (N, N).
        labels: Integer labels (N,); negative = outlier, no opinion.
        weight: Share of its similarity, 1 - distance, that a pair with different labels loses, in [0, 1].

    Returns:
        Sparse distances (N, N) at the same places.

    Example:
        >>> distance = sparse.csr_array(np.full((3, 3), 0.5))
        >>> penalize_different_labels(distance, np.array([0, 1, -1]), 0.1).toarray()
        array([[0.5 , 0.55, 0.5 ],
               [0.55, 0.5 , 0.5 ],
               [0.5 , 0.5 , 0.5 ]])
    """
    own, other = np.repeat(labels, np.diff(distance.indptr)), labels[distance.indices]
    apart = (own != other) & (own >= 0) & (other >= 0)
    penalized = distance.copy()
    penalized.data[apart] = 1 - (1 - weight) * (1 - distance.data[apart])
    return penalized


def follow_labels(clusters: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Let images without a cluster follow the images of their label, where nearly all of these are in one cluster.

    Args:
        clusters: Clusters (N,), -1 = outlier, others 0..C-1.
        labels: Integer labels (N,); negative = outlier.
        share: Images of a label are followed where more than this share of all of them is in one cluster.

    Returns:
        int64 clusters (N,) in which some outliers have a cluster.

    Example:
        >>> follow_labels(np.array([0, 0, 0, -1, 1, -1]), np.array([5, 5, 5, 5, 6, 6]), 0.7)
        array([ 0,  0,  0,  0,  1, -1])
    """
    label = compact_labels(labels)
    if min(label.max(), clusters.max()) < 0:
        return clusters
    known = np.flatnonzero((label >= 0) & (clusters >= 0))
    counts = sparse.csr_array(
        (np.ones(len(known)), (label[known], clusters[known])), shape=(label.max() + 1, clusters.max() + 1)
    )
    followed = counts.max(axis=1).toarray().ravel() > share * np.bincount(label[label >= 0])
    target = np.where(followed, counts.argmax(axis=1).ravel(), -1)
    return np.where((clusters < 0) & (label >= 0), target[label], clusters)
