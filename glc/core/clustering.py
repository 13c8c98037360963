"""Pseudo-labelers: clustering algorithms that turn a feature bank into labels."""

from __future__ import annotations

from time import perf_counter

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.cluster import DBSCAN
from sklearn.neighbors import sort_graph_by_row_values
from torch import Tensor
from typing_extensions import Self

from glc.core.graph import knn_graph
from glc.core.jaccard import jaccard_distance
from glc.core.labels import ArrayOrTensor, as_labels, as_unit_features, like


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

    def _label(self, features: Tensor, cam_ids: np.ndarray | None) -> np.ndarray:
        """Label unit features (N, D) of a float32 tensor: int64 (N,), -1 = outlier, others 0..C-1."""
        raise NotImplementedError


class JaccardDBSCAN(BaseLabeler):
    """DBSCAN on the k-reciprocal Jaccard distance, the usual labeler of unsupervised re-identification.

    Args:
        eps: Largest Jaccard distance between neighbours, in (0, 1).
        min_samples: Images within ``eps``, itself included, that make an image a core of a cluster.
        k1: Nearest neighbours, itself included, among which reciprocal ones are looked for.
        k2: Nearest neighbours, itself included, whose encodings are averaged; at most ``k1``.
        backend: Search of the neighbours, 'auto', 'faiss' or 'torch'; see ``knn_graph``.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'dbscan'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> features = np.repeat(np.eye(3, 16), 10, axis=0) + 0.05 * rng.normal(size=(30, 16))
        >>> labels = JaccardDBSCAN(eps=0.6, k1=8, k2=3)(features)
        >>> labels.reshape(3, 10)
        array([[0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
               [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
               [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]])
    """

    timings_: dict[str, float]

    def __init__(
        self, eps: float = 0.6, min_samples: int = 4, k1: int = 30, k2: int = 6, backend: str = 'auto'
    ) -> None:
        self.eps = eps
        self.min_samples = min_samples
        self.k1 = k1
        self.k2 = k2
        self.backend = backend

    def _label(self, features: Tensor, cam_ids: np.ndarray | None) -> np.ndarray:
        if not 0 < self.eps < 1:
            raise ValueError(f'eps must lie in (0, 1), got {self.eps}: at 1 every two images are neighbours')
        if self.min_samples < 1:
            raise ValueError(f'min_samples must be at least 1, got {self.min_samples}')
        times = [perf_counter()]
        graph = knn_graph(features, self.k1, self.backend)
        times.append(perf_counter())
        distance = jaccard_distance(features, self.k1, self.k2, max_distance=self.eps, graph=graph)
        times.append(perf_counter())
        distance = sort_graph_by_row_values(distance, warn_when_not_sorted=False)
        dbscan = DBSCAN(eps=self.eps, min_samples=self.min_samples, metric='precomputed')
        labels = dbscan.fit_predict(distance)
        times.append(perf_counter())
        self.timings_ = dict(zip(('knn', 'jaccard', 'dbscan'), np.diff(times).tolist(), strict=True))
        return labels.astype(np.int64)
