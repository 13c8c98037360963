"""The interface of clusterers: from sparse distances to labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from glc.core.parameters import Rules, check_parameters


class Clusterer(BaseEstimator, ABC):
    """Groups images by their distances.

    A subclass implements ``reach`` and ``_cluster``, and declares its parameters in ``_parameter_constraints``.

    Attributes:
        cut_: The cut of the last call, where the clusterer has one.

    Example:
        >>> class Pairs(Clusterer):
        ...     reach = 1.0
        ...     def _cluster(self, distance):
        ...         return np.arange(distance.shape[0]) // 2
        >>> Pairs()(sparse.csr_array((4, 4)))
        array([0, 0, 1, 1])
    """

    _parameter_constraints: ClassVar[Rules] = {}
    has_cut: ClassVar[bool] = True
    """Whether :meth:`with_cut` works."""
    cut_: float

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range.
        """
        check_parameters(self, self.get_params(deep=False), self._parameter_constraints)

    @property
    @abstractmethod
    def reach(self) -> float:
        """The largest distance that matters, in (0, 1]."""

    def __call__(self, distance: sparse.csr_array) -> np.ndarray:
        """Group the images.

        Args:
            distance: Symmetric distances (N, N) with a diagonal, absent entries are 1 apart; see
                :func:`glc.core.neighbors.jaccard.jaccard_distance`. Larger ones than ``reach`` are ignored.

        Returns:
            int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.

        Raises:
            ValueError: A parameter is out of range.
        """
        self.check()
        too_large = distance.data > np.float32(self.reach)
        if too_large.any():
            distance = distance.copy()
            distance.data[too_large] = 0
            distance.eliminate_zeros()
        return self._cluster(distance).astype(np.int64)

    def with_cut(self, delta: float) -> Self:
        """Return this clusterer at another cut.

        Args:
            delta: What is added to the cut of the last call; positive is looser.

        Raises:
            TypeError: The clusterer has no cut.
        """
        raise TypeError(f'{type(self).__name__} has no cut to loosen or tighten')

    def advice(self, num_clusters: int) -> str:
        """Say which parameters to change where there are fewer than two clusters.

        Args:
            num_clusters: 0 or 1.

        Returns:
            Half a sentence, such as 'raise eps or lower min_samples'; empty where there is nothing to say.
        """
        return ''

    @abstractmethod
    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        """Label the images by distances of at most ``reach``, which are not to be changed."""
