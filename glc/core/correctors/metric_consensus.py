"""A label corrector that learns a metric instead of links: little capacity, little room to memorise noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glc.core.clusterers import Clusterer, MapEquationClusterer, RelativeMapEquationClusterer
from glc.core.correctors.base import (
    BaseCorrector,
    follow_labels,
    penalize_different_labels,
)
from glc.core.correctors.evidence import accept_changes
from glc.core.correctors.whitening import learned_view, metric_of_labels
from glc.core.labelers.adaptive import AdaptiveConsensus, consensus, scales_for
from glc.core.labelers.base import as_view
from glc.core.labels import ArrayOrTensor, as_labels, compact_labels
from glc.core.neighbors.jaccard import as_scales
from glc.core.neighbors.view import FeatureView, mean_distance
from glc.core.parameters import (
    AUTO_CUT,
    BOOLEAN,
    FOLLOW,
    MIN_CLUSTER_SIZE,
    NEIGHBORHOODS,
    POSITIVE_SHARE,
    SEARCH,
    SEED,
    SHARE,
    Rules,
)
from glc.core.timing import Timings


class MetricConsensus(BaseCorrector):
    """Corrects labels by what two views of the images agree on, one with a metric learned from the labels.

    ``fit`` learns the directions in which images of one label differ (pose, light, camera) and weakens them: within-
    class whitening, as in linear discriminant analysis, drawn towards no change by ``shrinkage``. It is a closed
    form in D (D + 1) / 2 numbers, estimated from all images at once, so wrong labels blur it but cannot be memorised.

    ``predict`` takes the mean k-reciprocal Jaccard distance over several neighborhood sizes in two views: the
    features as they are, which know nothing of the labels, and the features in the learned metric; each with plain and
    with camera-balanced neighbors where cameras are known. Communities of that graph are the clusters, so merged people
    come apart as well as split ones together.

    Args:
        k1: See :mod:`glc.core.parameters`. None takes the scales that fit the images per person
            (:func:`glc.core.labelers.adaptive.consensus`), and edges that are strong for both of their images; then k2,
            ``cut``, ``max_outliers`` and ``follow_share`` do not matter.
        k2: See :mod:`glc.core.parameters`.
        shrinkage: Least weight of no change in the learned metric, in (0, 1]; 1 learns nothing. It is more where images
            are few for so many channels (:func:`glc.core.correctors.whitening.within_class_whitening`).
        cut: See :class:`glc.core.clusterers.MapEquationClusterer`.
        max_outliers: See :mod:`glc.core.parameters`.
        min_cluster_size: See :mod:`glc.core.parameters`.
        label_weight: Share of its similarity that a pair with different labels loses
            (:func:`glc.core.correctors.base.penalize_different_labels`), which keeps labels that are nearly right.
        follow_share: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`; a view has its own.
        careful: Make only those changes that the features speak for, judged without the labels
            (:func:`glc.core.correctors.evidence.accept_changes`). For a call; ``predict`` always clusters anew.
        seed: Seed of the order in which images move between communities.

    Attributes:
        mean_: Mean feature (D,).
        metric_: Whitening matrix (D, D); rows of ``(x - mean_) @ metric_`` are compared by cosine.
        cut_: The cut of the last ``predict``.
        timings_: Seconds of the last call's stages, keys 'fit', 'knn', 'jaccard' and 'cluster'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(20), 12)
        >>> features = rng.normal(size=(20, 16))[identity] + 0.1 * rng.normal(size=(240, 16))
        >>> merged = identity // 2  # every label holds two people
        >>> labels = MetricConsensus(k1=(6, 12), k2=3)(features, merged)
        >>> bool((labels == identity).all())
        True
    """

    _parameter_constraints: ClassVar[Rules] = {
        **NEIGHBORHOODS,
        'k1': [*NEIGHBORHOODS['k1'], None],
        'shrinkage': POSITIVE_SHARE,
        **AUTO_CUT,
        **MIN_CLUSTER_SIZE,
        'label_weight': SHARE,
        **FOLLOW,
        **SEARCH,
        'careful': BOOLEAN,
        **SEED,
    }
    mean_: Tensor
    metric_: Tensor
    cut_: float

    def __init__(
        self,
        *,
        k1: int | Sequence[int] | None = None,
        k2: int | Sequence[int] = 6,
        shrinkage: float = 0.3,
        cut: float | str = 'auto',
        max_outliers: float = 0.1,
        min_cluster_size: int = 2,
        label_weight: float = 0.05,
        follow_share: float = 0.8,
        backend: str = 'auto',
        careful: bool = True,
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
        self.careful = careful
        self.seed = seed

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range.
        """
        super().check()
        if self.k1 is not None:
            as_scales(self.k1, self.k2, type(self).__name__)

    def fit(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        *,
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> Self:
        """Learn the metric.

        Args:
            features: Features (N, D), whose rows are scaled to unit length first; or a view.
            labels: Integer labels (N,); negative = outlier, not used.
            cam_ids: Camera of every image (N,), negative where it is unknown.

        Returns:
            The corrector itself.

        Raises:
            UnusableLabelsError: There are fewer than two clusters, or only clusters of one image.
            ValueError: A parameter is out of range, features are empty, not (N, D) or not finite, or labels are
                not N integers.
        """
        view = self._view(features, cam_ids)
        self.timings_ = Timings()
        self._fit(view, as_labels(labels, len(view)).cpu().numpy())
        return self

    def predict(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        *,
        cam_ids: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Label all images.

        Args:
            features: Features (N, D), whose rows are scaled to unit length first; or a view.
            cam_ids: Camera of every image (N,), negative where it is unknown.
            labels: Labels (N,) that these images have, where known, to lean on; negative = outlier.

        Returns:
            int64 labels (N,), of the kind and on the device of the features: -1 = outlier, others 0..C-1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: A parameter is out of range, features are empty, not (N, D) or not finite, or D is not the D
                of ``fit``.
        """
        check_is_fitted(self, 'metric_')
        view = self._view(features, cam_ids)
        if view.features.shape[1] != len(self.metric_):
            raise ValueError(
                f'fitted on features of {len(self.metric_)} channels, got {view.features.shape[1]}'
            )
        known = None if labels is None else compact_labels(as_labels(labels, len(view))).cpu().numpy()
        return view.result(self._predict(view, known))

    @property
    def expected_k(self) -> int:
        """The largest k1, or what the consensus needs."""
        return AdaptiveConsensus().expected_k if self.k1 is None else int(np.max(self.k1))

    def _view(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        cam_ids: np.ndarray | Tensor | None,
    ) -> FeatureView[ArrayOrTensor]:
        self.check()
        return as_view(features, cam_ids, self.backend, self.expected_k)

    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        self._fit(view, labels)
        proposal = self._predict(view, labels)
        if not self.careful:
            return proposal
        with self.timings_.stage('evidence'):
            return accept_changes(view, labels, proposal, self.seed, anew=True)

    def _fit(self, view: FeatureView[Any], labels: np.ndarray) -> None:
        with self.timings_.stage('fit'):
            self.mean_ = view.centered.mean(0)
            self.metric_ = metric_of_labels(view, labels, self.shrinkage)

    def _predict(self, view: FeatureView[Any], labels: np.ndarray | None) -> np.ndarray:
        clusterer: Clusterer
        if self.k1 is None:
            scales = as_scales(*scales_for(consensus(view, self.seed, self.timings_).sizes[-1]))
            clusterer = RelativeMapEquationClusterer(min_cluster_size=self.min_cluster_size, seed=self.seed)
        else:
            scales = as_scales(self.k1, self.k2)
            clusterer = MapEquationClusterer(self.cut, self.max_outliers, self.min_cluster_size, self.seed)
        k = max(scales)[0]
        with self.timings_.stage('knn'):
            views = [view, learned_view(view, self.mean_, self.metric_)]
            for seen in views:
                seen.graphs(k)
        with self.timings_.stage('jaccard'):
            distance = mean_distance(views, scales, clusterer.reach)
        with self.timings_.stage('cluster'):
            if labels is not None:
                distance = penalize_different_labels(distance, labels, self.label_weight)
            clusters = clusterer(distance)
            self.cut_ = clusterer.cut_
            if self.k1 is None:
                strangers = consensus(view, self.seed).strangers
                return compact_labels(np.where(strangers, -1, clusters), self.min_cluster_size)
            if labels is None:
                return clusters
            return follow_labels(clusters, labels, self.follow_share)
