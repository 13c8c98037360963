"""DBSCAN on sparse distances, by scikit-learn, and an eps from the data."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.neighbors import sort_graph_by_row_values

from glc.core.clusterers.base import Clusterer, as_graph
from glc.core.parameters import AT_LEAST_ONE, INSIDE_UNIT, Rules, StrOptions, checked

#: Smallest and largest eps of ``eps='auto'``.
KNEE_RANGE = (0.3, 0.5)


class DBSCANClusterer(Clusterer):
    """DBSCAN: chains of dense images.

    Args:
        eps: Largest distance between neighbors, in (0, 1): at 1 every two images would be neighbors. ``'auto'`` is the
            knee of the sorted distances of all images to their ``min_samples``-th neighbor, see :func:`knee_distance`.
        min_samples: Images within ``eps``, itself included, that make an image a core of a cluster.

    Attributes:
        cut_: The eps of the last call.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'eps': [*INSIDE_UNIT, StrOptions({'auto'})],
        'min_samples': AT_LEAST_ONE,
    }

    def __init__(self, eps: float | str = 0.6, min_samples: int = 4) -> None:
        self.eps = eps
        self.min_samples = min_samples

    @property
    def reach(self) -> float:
        """The eps; 1 for ``'auto'``, which looks at all distances."""
        return 1.0 if isinstance(self.eps, str) else self.eps

    def with_cut(self, delta: float) -> DBSCANClusterer:
        """Return the clusterer at a fixed eps, that of the last call plus ``delta``."""
        return DBSCANClusterer(self.cut_ + delta, self.min_samples)

    def advice(self, num_clusters: int) -> str:
        """Name ``eps`` and ``min_samples``."""
        return 'raise eps or lower min_samples' if num_clusters == 0 else 'lower eps'

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.cut_ = knee_distance(distance, self.min_samples) if isinstance(self.eps, str) else self.eps
        by_row = sort_graph_by_row_values(distance, copy=True, warn_when_not_sorted=False)
        dbscan = DBSCAN(eps=self.cut_, min_samples=self.min_samples, metric='precomputed')
        return dbscan.fit_predict(by_row)


@checked(min_samples=AT_LEAST_ONE)
def knee_distance(distance: sparse.csr_array, min_samples: int) -> float:
    """An eps for DBSCAN from the data: the knee of the sorted distances to the ``min_samples``-th neighbor.

    Within a person these distances rise slowly, to other people steeply. The knee is the point of the sorted curve
    farthest below the line from its first to its last point (Satopaa et al., Finding a Kneedle in a Haystack, 2011).
    Images with fewer neighbors than that count as 1 apart. The curve of strong features has its knee where many
    images of a person are still farther apart, that of weak ones where people are long chained together, so the result
    is kept within :data:`KNEE_RANGE`: at its upper end, 0.5, the encodings of two images share 2/3 of their weight.

    Args:
        distance: Sparse distances (N, N) with a diagonal, absent entries are 1 apart.
        min_samples: Neighbors, itself included.

    Returns:
        The distance at the knee, moved into the range.

    Raises:
        ValueError: ``min_samples`` is below 1, or the distances are not a square sparse matrix of numbers in [0, 1].
    """
    distance = as_graph(distance, 'distance', 1.0)
    sizes = np.diff(distance.indptr)
    ends = distance.indptr[:-1] + min_samples - 1
    by_row = sort_graph_by_row_values(distance.copy(), warn_when_not_sorted=False)
    reached = sizes >= min_samples
    heights = np.ones(len(sizes))
    heights[reached] = by_row.data[ends[reached]]
    heights.sort()
    chord = np.linspace(heights[0], heights[-1], len(heights))
    knee = float(heights[np.argmax(chord - heights)])
    return min(max(knee, KNEE_RANGE[0]), KNEE_RANGE[1])
