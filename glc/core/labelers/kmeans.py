"""k-means of the features, by scikit-learn."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from sklearn.cluster import KMeans

from glc.core.labelers.base import BaseLabeler
from glc.core.labels import compact_labels
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import AT_LEAST_ONE, SEED, Rules


class KMeansLabeler(BaseLabeler):
    """k-means of unit features: a given number of clusters and no outliers.

    Args:
        num_clusters: Number of clusters; with fewer (different) images, as many as these.
        seed: Seed of the first centroids.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.

    Example:
        >>> KMeansLabeler(num_clusters=2)(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]))
        array([0, 0, 1])
    """

    _parameter_constraints: ClassVar[Rules] = {'num_clusters': AT_LEAST_ONE, **SEED}

    def __init__(self, num_clusters: int = 500, seed: int = 0) -> None:
        self.num_clusters = num_clusters
        self.seed = seed

    def advice(self, num_clusters: int) -> str:
        """Name ``num_clusters``."""
        return 'raise num_clusters'

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        kmeans = KMeans(min(self.num_clusters, len(view)), n_init='auto', random_state=self.seed)
        with self.timings_.stage('cluster'):
            return compact_labels(kmeans.fit_predict(view.features.cpu().numpy()))
