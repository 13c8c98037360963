"""The interface of clusterers: from sparse distances to labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator

from glc.core.parameters import Checked, Rules

_ROUNDING = 1e-6


class Clusterer(Checked, BaseEstimator, ABC):
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
            ValueError: A parameter is out of range, or the distances are not a square sparse matrix of numbers in
                [0, 1].
        """
        self.check()
        distance = as_graph(distance, 'distance', 1.0)
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


def as_graph(matrix: Any, name: str, largest: float = np.inf) -> sparse.csr_array:
    """Check a sparse matrix of distances or weights.

    Args:
        matrix: Any sparse matrix (N, N), N >= 1.
        name: What it is, for error messages.
        largest: Largest value that is allowed, up to rounding.

    Returns:
        The matrix by rows; it shares the memory of a ``csr_array``.

    Raises:
        TypeError: It is not sparse.
        ValueError: It is empty or not square, or holds values that are not finite, negative or too large.
    """
    if not sparse.issparse(matrix):
        raise TypeError(f'{name} must be a sparse matrix (N, N) of scipy, got {type(matrix).__name__}')
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.shape[0]:
        raise ValueError(f'{name} must be a sparse matrix (N, N), N >= 1, got shape {matrix.shape}')
    graph = sparse.csr_array(matrix)
    wrong = ~((graph.data >= 0) & (graph.data <= largest + _ROUNDING) & np.isfinite(graph.data))
    if wrong.any():
        entries = graph.tocoo()
        first = int(wrong.argmax())
        raise ValueError(
            f'{name}: {np.count_nonzero(wrong)} of {graph.nnz} entries are NaN, infinite or outside [0, {largest}], '
            f'the first is {graph.data[first]} at ({entries.row[first]}, {entries.col[first]})'
        )
    return graph
