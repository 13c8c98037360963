"""Pseudo-labelers: clustering algorithms that turn a feature bank into labels."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN
from sklearn.neighbors import sort_graph_by_row_values
from torch import Tensor

from glc.core.cameras import camera_views
from glc.core.communities import cut_communities, largest_cut
from glc.core.jaccard import mean_jaccard_distance
from glc.core.labels import ArrayOrTensor, as_labels, as_unit_features, like

#: Smallest and largest eps of ``eps='auto'``.
KNEE_RANGE = (0.3, 0.5)


class BaseLabeler(ClusterMixin, BaseEstimator):
    """Base of pseudo-labelers; a scikit-learn clusterer (``fit``, ``fit_predict``, ``get_params``) too.

    A subclass implements ``_label``; input checks, scaling and conversions are done here.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.

    Example:
        >>> class OneCluster(BaseLabeler):
        ...     def _label(self, features, cam_ids):
        ...         return np.zeros(len(features), np.int64)
        >>> OneCluster()(np.eye(3))
        array([0, 0, 0])
    """

    labels_: np.ndarray | Tensor

    def __call__(self, features: ArrayOrTensor, cam_ids: np.ndarray | Tensor | None = None) -> ArrayOrTensor:
        """Label the images.

        Args:
            features: Features (N, D), an array or a tensor; rows are scaled to unit length first.
            cam_ids: Camera of every image (N,), for labelers that use it.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.

        Raises:
            ValueError: Features are empty, not (N, D) or not finite, ``cam_ids`` is not (N,), or a parameter
                of the labeler is out of range.
        """
        x = as_unit_features(features)
        cams = None if cam_ids is None else as_labels(cam_ids, len(x), 'cam_ids').cpu().numpy()
        return like(torch.from_numpy(self._label(x, cams)), features)

    def fit(self, X: ArrayOrTensor, y: None = None) -> Self:
        """Label the images and keep the result in ``labels_``.

        Args:
            X: Features (N, D).
            y: Ignored, by the convention of scikit-learn.

        Returns:
            The labeler itself.
        """
        self.labels_ = self(X)
        return self

    def state_dict(self) -> dict[str, float]:
        """What one labelling hands to the next, for checkpoints; most labelers hand over nothing."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take the state of a run that is being resumed; an empty one starts anew."""

    def _label(self, features: Tensor, cam_ids: np.ndarray | None) -> np.ndarray:
        """Label unit features (N, D) of a float32 tensor: int64 (N,), -1 = outlier, others 0..C-1."""
        raise NotImplementedError


class JaccardLabeler(BaseLabeler):
    """Base of labelers that cluster a k-reciprocal Jaccard distance.

    A subclass implements ``_cluster``.

    Args:
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Where cameras are known, centre the features of each, and take the mean of the distances by plain
            and by camera-balanced neighbours (:func:`glc.core.cameras.camera_views`).

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    timings_: dict[str, float]

    def __init__(
        self, k1: int | Sequence[int] = 30, k2: int = 6, backend: str = 'auto', use_cameras: bool = False
    ) -> None:
        self.k1 = k1
        self.k2 = k2
        self.backend = backend
        self.use_cameras = use_cameras

    def _label(self, features: Tensor, cam_ids: np.ndarray | None) -> np.ndarray:
        distance = self.distances(features, cam_ids)
        started = perf_counter()
        labels = self.cluster(distance)
        self.timings_['cluster'] = perf_counter() - started
        return labels

    def distances(
        self, features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None = None, margin: float = 0.0
    ) -> sparse.csr_array:
        """The distances that the labeler clusters, for callers that cluster them more than once.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            cam_ids: Camera of every image (N,); used with ``use_cameras``.
            margin: Keep distances that are larger by so much than those that this labeler looks at.

        Returns:
            Sparse distances (N, N), see :func:`glc.core.jaccard.jaccard_distance`.

        Raises:
            ValueError: A parameter of the labeler is out of range.
        """
        max_distance = min(self._check() + margin, 1.0)
        times = [perf_counter()]
        cam_ids = cam_ids if self.use_cameras else None
        x, graphs = camera_views(features, cam_ids, int(np.max(self.k1)), self.backend)
        times.append(perf_counter())
        distance = mean_jaccard_distance([(x, graph) for graph in graphs], self.k1, self.k2, max_distance)
        times.append(perf_counter())
        self.timings_ = dict(zip(('knn', 'jaccard'), np.diff(times).tolist(), strict=True))
        return distance

    def cluster(self, distances: sparse.csr_array) -> np.ndarray:
        """Label the images by their distances.

        Args:
            distances: Those of :meth:`distances`, of this labeler or of one with another cut; larger ones than it looks
                at are ignored.

        Returns:
            int64 labels (N,): -1 = outlier, others 0..C-1.

        Raises:
            ValueError: A parameter of the labeler is out of range.
        """
        too_large = distances.data > np.float32(self._check())
        if too_large.any():
            distances = distances.copy()
            distances.data[too_large] = 0
            distances.eliminate_zeros()
        return self._cluster(distances).astype(np.int64)

    def _check(self) -> float:
        """Check the parameters; the largest distance that ``_cluster`` needs."""
        raise NotImplementedError

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        """Label the images by their distances, see :func:`glc.core.jaccard.jaccard_distance`."""
        raise NotImplementedError


class JaccardDBSCAN(JaccardLabeler):
    """DBSCAN on the k-reciprocal Jaccard distance, the usual labeler of unsupervised re-identification.

    Args:
        eps: Largest Jaccard distance between neighbours, in (0, 1), or 'auto': the knee of the sorted distances of
            all images to their ``min_samples``-th neighbour, see :func:`knee_distance`.
        min_samples: Images within ``eps``, itself included, that make an image a core of a cluster.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Take out what the cameras put in, where they are known; see :class:`JaccardLabeler`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
        eps_: The eps of the last call.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = np.repeat(np.eye(3, 16), 10, axis=0) + 0.05 * rng.normal(size=(30, 16))
        >>> labels = JaccardDBSCAN(eps=0.6, k1=8, k2=3)(features)
        >>> labels.reshape(3, 10)
        array([[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
               [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
               [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]])
    """

    eps_: float

    def __init__(
        self,
        eps: float | str = 0.6,
        min_samples: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.eps = eps
        self.min_samples = min_samples

    def _check(self) -> float:
        if self.min_samples < 1:
            raise ValueError(f'min_samples must be at least 1, got {self.min_samples}')
        if self.eps == 'auto':
            return 1.0
        if isinstance(self.eps, str) or not 0 < self.eps < 1:
            raise ValueError(
                f"eps must lie in (0, 1) or be 'auto', got {self.eps!r}: at 1 every two images are neighbours"
            )
        return self.eps

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        self.eps_ = knee_distance(distance, self.min_samples) if isinstance(self.eps, str) else self.eps
        distance = sort_graph_by_row_values(distance, warn_when_not_sorted=False)
        dbscan = DBSCAN(eps=self.eps_, min_samples=self.min_samples, metric='precomputed')
        return dbscan.fit_predict(distance)


class JaccardMapEquation(JaccardLabeler):
    """Communities of a random walk on the k-reciprocal Jaccard graph.

    Edges join images at a distance of at most ``cut``, with the weight 1 - distance; the map equation sets the number
    of clusters (:func:`glc.core.communities.map_equation_communities`). Against DBSCAN, a single false link does not
    merge two people, and the cut matters little.

    Args:
        cut: Largest Jaccard distance of an edge, in (0, 1), or 'auto'; see
            :func:`glc.core.communities.cut_communities`.
        max_outliers: Share of the images that ``cut='auto'`` leaves without a cluster at most, where it can.
        min_cluster_size: Clusters of fewer images become outliers.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for; several numbers give the
            mean of their distances.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most the smallest ``k1``.
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        use_cameras: Take out what the cameras put in, where they are known; see :class:`JaccardLabeler`.
        seed: Seed of the order in which images move.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
        cut_: The cut of the last call.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = np.repeat(np.eye(3, 16), 10, axis=0) + 0.05 * rng.normal(size=(30, 16))
        >>> JaccardMapEquation(k1=8, k2=3)(features).reshape(3, 10)
        array([[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
               [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
               [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]])
    """

    cut_: float

    def __init__(
        self,
        cut: float | str = 0.5,
        max_outliers: float = 0.1,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.cut = cut
        self.max_outliers = max_outliers
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    def _check(self) -> float:
        return largest_cut(self.cut)

    def _cluster(self, distance: sparse.csr_array) -> np.ndarray:
        labels, self.cut_ = cut_communities(
            distance, self.cut, self.max_outliers, self.min_cluster_size, self.seed
        )
        return labels


class MultiScaleConsensus(JaccardMapEquation):
    """:class:`JaccardMapEquation` on the mean Jaccard distance over several neighbourhood sizes.

    A small k1 tells people apart who look alike, a large one holds together a person seen often; the mean keeps pairs
    that are near at every scale. It costs little more than one Jaccard distance.
    One configuration serves strong and weak features: ``cut='auto'`` loosens the graph where they are weak.
    """

    def __init__(
        self,
        cut: float | str = 'auto',
        max_outliers: float = 0.1,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = (12, 20, 30, 45),
        k2: int = 6,
        backend: str = 'auto',
        use_cameras: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(cut, max_outliers, min_cluster_size, k1, k2, backend, use_cameras, seed)


def knee_distance(distance: sparse.csr_array, min_samples: int) -> float:
    """An eps for DBSCAN from the data: the knee of the sorted distances to the ``min_samples``-th neighbour.

    Within a person these distances rise slowly, to other people steeply. The knee is the point of the sorted curve
    farthest below the line from its first to its last point (Satopaa et al., Finding a Kneedle in a Haystack, 2011).
    Images with fewer neighbours than that count as 1 apart. The curve of strong features has its knee where many
    images of a person are still farther apart, that of weak ones where people are long chained together, so the result
    is kept within :data:`KNEE_RANGE`: at its upper end, 0.5, the encodings of two images share 2/3 of their weight.

    Args:
        distance: Sparse distances (N, N) with a diagonal, absent entries are 1 apart.
        min_samples: Neighbours, itself included.

    Returns:
        The distance at the knee, moved into the range.
    """
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
