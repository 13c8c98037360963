"""Communities of edges that are strong for both of their images."""

from __future__ import annotations

from numbers import Real
from typing import ClassVar

import numpy as np
from scipy import sparse

from glc.core.clusterers.base import Clusterer
from glc.core.clusterers.communities import map_equation_communities
from glc.core.compiled import compiled
from glc.core.parameters import CUT, MIN_CLUSTER_SIZE, SEED, Interval, Rules

_STRONGEST = 8


class RelativeMapEquationClusterer(Clusterer):
    """Map equation communities of a graph whose edges are measured by what their two images are used to.

    With the similarity s = 1 - distance and m_i the mean of the 8 largest s of image i, the weight of an edge is
    ``r_ij = s_ij / sqrt(m_i m_j)``. An edge stays if its distance is at most ``cut``, and its similarity at least that
    of a chain of ``chain`` usual links: ``s_ij >= (m_i m_j) ** (chain / 2)``. The cut binds where features are weak,
    the chain where they are strong: there even an image of another person may be near, but nearer ones are usual.

    Args:
        cut: See :mod:`glc.core.parameters`.
        chain: Usual links whose product an edge must reach, at least 1.
        min_cluster_size: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move.

    Attributes:
        cut_: The cut of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {
        **CUT,
        'chain': [Interval(Real, 1, None, closed='left')],
        **MIN_CLUSTER_SIZE,
        **SEED,
    }

    def __init__(
        self, cut: float = 0.7, chain: float = 3.0, min_cluster_size: int = 2, seed: int = 0
    ) -> None:
        self.cut = cut
        self.chain = chain
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    @property
    def reach(self) -> float:
        """The cut."""
        return self.cut

    def with_cut(self, delta: float) -> RelativeMapEquationClusterer:
        """Return the clusterer at the cut plus ``delta``."""
        return RelativeMapEquationClusterer(self.cut + delta, self.chain, self.min_cluster_size, self.seed)

    def advice(self, num_clusters: int) -> str:
        """Name ``cut``, ``chain`` and ``min_cluster_size``."""
        if num_clusters == 0:
            return 'raise cut or chain, or lower min_cluster_size'
        return 'lower cut or chain'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.cut_ = self.cut
        weights = relative_similarity(distance, self.chain)
        return map_equation_communities(weights, self.min_cluster_size, self.seed)


def relative_similarity(distance: sparse.csr_array, chain: float) -> sparse.csr_array:
    """Measure edges by what their two images are used to, see :class:`RelativeMapEquationClusterer`.

    Args:
        distance: Symmetric sparse distances (N, N).
        chain: Edges weaker than a chain of so many usual links are left out.

    Returns:
        Symmetric sparse float64 weights r (N, N), without a diagonal.

    Example:
        >>> distance = sparse.csr_array([[0, 0.2, 0.7], [0.2, 0, 0], [0.7, 0, 0]])
        >>> relative_similarity(distance, 3.0).toarray().round(2)
        array([[0.  , 1.21, 0.74],
               [1.21, 0.  , 0.  ],
               [0.74, 0.  , 0.  ]])
    """
    parts = distance.indptr.astype(np.int64), distance.indices, distance.data
    return sparse.csr_array(_relative_rows(*parts, _usual(*parts), chain), shape=distance.shape)


@compiled()
def _usual(starts: np.ndarray, columns: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """Mean of the 8 largest similarities of every image, of all if there are fewer; 1 for an image without edges."""
    means = np.ones(len(starts) - 1)
    for i in range(len(means)):
        row = slice(starts[i], starts[i + 1])
        own = np.sort(1 - distances[row][columns[row] != i].astype(np.float64))
        if len(own):
            means[i] = own[-_STRONGEST:].mean()
    return means


@compiled()
def _relative_rows(
    starts: np.ndarray, columns: np.ndarray, distances: np.ndarray, usual: np.ndarray, chain: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Relative similarities that are kept, as data, columns and row starts."""
    values = np.empty(len(columns))
    kept = np.empty(len(columns), columns.dtype)
    ends = np.zeros(len(starts), columns.dtype)
    filled = 0
    for i in range(len(starts) - 1):
        for entry in range(starts[i], starts[i + 1]):
            j = columns[entry]
            similarity = 1 - np.float64(distances[entry])
            both = np.sqrt(usual[i] * usual[j])  # exact where both are equal: a pair that has only each other
            if i != j and similarity >= both**chain:
                values[filled] = similarity / both
                kept[filled] = j
                filled += 1
        ends[i + 1] = filled
    return values[:filled], kept[:filled], ends
