"""A label corrector that learns a metric instead of links: little capacity, little room to memorise noise."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glc.core.cameras import camera_views, center_cameras
from glc.core.communities import cut_communities, follow_labels, largest_cut, part_labels
from glc.core.correction import BaseCorrector, UnusableLabelsError
from glc.core.jaccard import mean_jaccard_distance
from glc.core.labels import ArrayOrTensor, as_labels, as_unit_features, compact_labels, like


class MetricConsensus(BaseCorrector):
    """Corrects labels by what two views of the images agree on, one with a metric learnt from the labels.

    ``fit`` learns the directions in which images of one label differ (pose, light, camera) and weakens them: within-
    class whitening, as in linear discriminant analysis, drawn towards no change by ``shrinkage``. It is a closed
    form in D (D + 1) / 2 numbers, estimated from all images at once, so wrong labels blur it but cannot be memorised.

    ``predict`` takes the mean k-reciprocal Jaccard distance over several neighbourhood sizes in two views: the
    features as they are, which know nothing of the labels, and the features in the learnt metric, with camera-balanced
    neighbours where cameras are known. Communities of that graph are the clusters, so merged people come apart
    as well as split ones together.

    Args:
        k1: Neighbourhood sizes, see :func:`glc.core.jaccard.jaccard_distance`.
        k2: Neighbours over which encodings are averaged; at most the smallest ``k1``.
        shrinkage: Weight of no change in the learnt metric, in (0, 1]; 1 learns nothing.
        cut: Largest mean distance of an edge, in (0, 1), or 'auto'; see
            :func:`glc.core.communities.cut_communities`.
        max_outliers: Share of the images that ``cut='auto'`` leaves without a cluster at most, where it can.
        min_cluster_size: Clusters of fewer images become outliers.
        label_weight: Share of its similarity that a pair with different labels loses
            (:func:`glc.core.communities.part_labels`), which keeps labels that are nearly right.
        follow_share: Images left without a cluster follow those of their label where more than this share of them is
            in one cluster (:func:`glc.core.communities.follow_labels`).
        backend: Search of the neighbours, see :func:`glc.core.graph.knn_graph`.
        seed: Seed of the order in which images move between communities.

    Attributes:
        mean_: Mean feature (D,).
        metric_: Whitening matrix (D, D); rows of ``(x - mean_) @ metric_`` are compared by cosine.
        cut_: The cut of the last ``predict``.
        timings_: Seconds of 'fit', 'knn', 'jaccard' and 'cluster'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(20), 12)
        >>> features = rng.normal(size=(20, 16))[identity] + 0.1 * rng.normal(size=(240, 16))
        >>> merged = identity // 2  # every label holds two people
        >>> labels = MetricConsensus(k1=(6, 12), k2=3)(features, merged)
        >>> bool((labels == identity).all())
        True
    """

    mean_: Tensor
    metric_: Tensor
    cut_: float
    timings_: dict[str, float]

    def __init__(
        self,
        *,
        k1: int | Sequence[int] = (10, 20, 40, 80),
        k2: int = 6,
        shrinkage: float = 0.3,
        cut: float | str = 'auto',
        max_outliers: float = 0.1,
        min_cluster_size: int = 4,
        label_weight: float = 0.05,
        follow_share: float = 0.8,
        backend: str = 'auto',
        seed: int = 0,
    ) -> None:
        self.k1 = k1
        self.k2 = k2
        self.shrinkage = shrinkage
        self.cut = cut
        self.max_outliers = max_outliers
        self.min_cluster_size = min_cluster_size
        self.label_weight = label_weight
        self.follow_share = follow_share
        self.backend = backend
        self.seed = seed

    def fit(
        self,
        features: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> Self:
        """Learn the metric.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            labels: Integer labels (N,); negative = outlier, not used.
            cam_ids: Camera of every image (N,), where known.

        Returns:
            The corrector itself.

        Raises:
            UnusableLabelsError: There are fewer than two clusters, or only clusters of one image.
            ValueError: A parameter is out of range, features are empty, not (N, D) or not finite, or labels are
                not N integers.
        """
        if not 0 < self.shrinkage <= 1:
            raise ValueError(f'shrinkage must lie in (0, 1], got {self.shrinkage}')
        for name in ('label_weight', 'follow_share'):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f'{name} must lie in [0, 1], got {getattr(self, name)}')
        started = perf_counter()
        x = as_unit_features(features)
        y = as_labels(labels, len(x)).to(x.device)
        if cam_ids is not None:
            x = center_cameras(x, cam_ids)
        self.mean_ = x.mean(0)
        self.metric_ = within_class_whitening(x[y >= 0], compact_labels(y[y >= 0]), self.shrinkage)
        self.timings_ = {'fit': perf_counter() - started}
        return self

    def predict(
        self,
        features: ArrayOrTensor,
        cam_ids: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Label all images.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            cam_ids: Camera of every image (N,), where known.
            labels: Labels (N,) that these images have, where known, to lean on; negative = outlier.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: A parameter is out of range, features are empty, not (N, D) or not finite, or D is not the D
                of ``fit``.
        """
        check_is_fitted(self, 'metric_')
        x = as_unit_features(features)
        if x.shape[1] != len(self.metric_):
            raise ValueError(f'fitted on features of {len(self.metric_)} channels, got {x.shape[1]}')
        times = [perf_counter()]
        k = int(np.max(self.k1))
        x, (plain, *_) = camera_views(x, cam_ids, k, self.backend)
        z, (*_, learnt) = camera_views((x - self.mean_.to(x)) @ self.metric_.to(x), cam_ids, k, self.backend)
        times.append(perf_counter())
        distance = mean_jaccard_distance([(x, plain), (z, learnt)], self.k1, self.k2, largest_cut(self.cut))
        times.append(perf_counter())
        known = None if labels is None else as_labels(labels, len(x)).cpu().numpy()
        if known is not None:
            distance = part_labels(distance, known, self.label_weight)
        corrected, self.cut_ = cut_communities(
            distance, self.cut, self.max_outliers, self.min_cluster_size, self.seed
        )
        if known is not None:
            corrected = follow_labels(corrected, known, self.follow_share)
        times.append(perf_counter())
        self.timings_.update(zip(('knn', 'jaccard', 'cluster'), np.diff(times).tolist(), strict=True))
        return like(torch.from_numpy(corrected), features)

    def _correct(
        self, features: ArrayOrTensor, labels: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None
    ) -> ArrayOrTensor:
        return self.fit(features, labels, cam_ids).predict(features, cam_ids, labels)


def within_class_whitening(features: Tensor, labels: Tensor, shrinkage: float) -> Tensor:
    """Inverse square root of the within-class covariance S, shrunk to ``(1 - a) S + a tr(S) / D``.

    Args:
        features: Features (N, D).
        labels: Integer labels (N,) in 0..C-1, every one used.
        shrinkage: a, in (0, 1]; see Friedman, Regularized discriminant analysis, 1989.

    Returns:
        Symmetric float32 matrix (D, D), scaled to the identity for a = 1.

    Raises:
        UnusableLabelsError: There are fewer than two classes, or no two different images in a class.
    """
    num_classes = int(labels.max()) + 1 if len(labels) else 0
    if num_classes < 2:
        raise UnusableLabelsError(f'{num_classes} clusters: at least 2 are needed')
    x = features.double()
    sums = torch.zeros(num_classes, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, labels, x)
    residuals = x - (sums / labels.bincount()[:, None])[labels]
    covariance = residuals.T @ residuals
    spread = covariance.trace() / len(covariance)
    if spread <= torch.finfo(torch.float32).eps:
        raise UnusableLabelsError('no cluster holds two different images: a metric has nothing to learn from')
    identity = torch.eye(len(covariance), dtype=x.dtype, device=x.device)
    values, vectors = torch.linalg.eigh((1 - shrinkage) * covariance / spread + shrinkage * identity)
    return ((vectors * values.clip(min=shrinkage) ** -0.5) @ vectors.T).float()
