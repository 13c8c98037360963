"""Labelers that cluster the k-reciprocal Jaccard distance."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from scipy import sparse

from glc.core.clusterers import (
    Clusterer,
    DBSCANClusterer,
    HDBSCANClusterer,
    LeidenClusterer,
    LinkageClusterer,
    MapEquationClusterer,
)
from glc.core.labelers.base import BaseLabeler
from glc.core.labels import ArrayOrTensor
from glc.core.neighbors.jaccard import as_scales
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import CAMERAS, NEIGHBORHOODS, SEARCH, Rules
from glc.core.timing import Timings


class JaccardLabeler(BaseLabeler):
    """Base of labelers that cluster the k-reciprocal Jaccard distance.

    A subclass implements ``clusterer``, and declares the parameters of its clusterer beside those below.

    Args:
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`; a view has its own.
        use_cameras: See :mod:`glc.core.parameters`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    _parameter_constraints: ClassVar[Rules] = {**NEIGHBORHOODS, **SEARCH, **CAMERAS}

    def __init__(
        self,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        self.k1 = k1
        self.k2 = k2
        self.backend = backend
        self.use_cameras = use_cameras

    @abstractmethod
    def clusterer(self) -> Clusterer:
        """Return what turns the distances into labels."""

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range.
        """
        super().check()
        as_scales(self.k1, self.k2, type(self).__name__)

    @property
    def expected_k(self) -> int:
        """The largest k1."""
        return int(np.max(self.k1))

    def advice(self, num_clusters: int) -> str:
        """Say what its clusterer says."""
        return self.clusterer().advice(num_clusters)

    def seen(self, view: FeatureView[ArrayOrTensor]) -> FeatureView[ArrayOrTensor]:
        """Return the view, without cameras if they are not used."""
        return view if self.use_cameras else view.without_cameras()

    def distance(self, view: FeatureView[Any], margin: float = 0.0) -> sparse.csr_array:
        """Compute the distances that the labeler clusters, for callers that cluster them more than once.

        Args:
            view: Features, and cameras for ``use_cameras``.
            margin: Keep distances that are larger by so much than those that the clusterer looks at.

        Returns:
            Sparse distances (N, N), see :func:`glc.core.neighbors.jaccard.jaccard_distance`; not to be changed.
        """
        view = self.seen(view)
        self.timings_ = Timings()
        with self.timings_.stage('knn'):
            view.graphs(self.expected_k)
        with self.timings_.stage('jaccard'):
            return view.distance(self.k1, self.k2, min(self.clusterer().reach + margin, 1.0))

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        distance = self.distance(view)
        clusterer = self.clusterer()
        with self.timings_.stage('cluster'):
            labels = clusterer(distance)
        self._keep(clusterer)
        return labels

    def _keep(self, clusterer: Clusterer) -> None:
        """Keep what the clusterer found out about its parameters."""


class JaccardDBSCAN(JaccardLabeler):
    """DBSCAN on the k-reciprocal Jaccard distance, the usual labeler of unsupervised re-identification.

    Args:
        eps: See :class:`glc.core.clusterers.DBSCANClusterer`.
        min_samples: See :class:`glc.core.clusterers.DBSCANClusterer`.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`.
        use_cameras: See :mod:`glc.core.parameters`.
        unit_features: Scale the features to unit length first. False takes them as they are
            (:meth:`glc.core.neighbors.view.FeatureView.as_given`), as published for networks with a multi neck.

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

    _parameter_constraints: ClassVar[Rules] = {
        **JaccardLabeler._parameter_constraints,
        **DBSCANClusterer._parameter_constraints,
        'unit_features': ['boolean'],
    }
    eps_: float

    def __init__(
        self,
        eps: float | str = 0.6,
        min_samples: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
        unit_features: bool = True,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.eps = eps
        self.min_samples = min_samples
        self.unit_features = unit_features

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range, or cameras are to be used with features as they are.
        """
        super().check()
        if self.use_cameras and not self.unit_features:
            raise ValueError(
                'use_cameras=True of JaccardDBSCAN needs unit_features=True: features are centered per camera'
            )

    def seen(self, view: FeatureView[ArrayOrTensor]) -> FeatureView[ArrayOrTensor]:
        """Return the view without cameras if they are not used, or the features as they were given."""
        return super().seen(view) if self.unit_features else view.as_given()

    def clusterer(self) -> DBSCANClusterer:
        """Return DBSCAN."""
        return DBSCANClusterer(self.eps, self.min_samples)

    def _keep(self, clusterer: Clusterer) -> None:
        self.eps_ = clusterer.cut_


class JaccardMapEquation(JaccardLabeler):
    """Communities of a random walk on the k-reciprocal Jaccard graph.

    Args:
        cut: See :class:`glc.core.clusterers.MapEquationClusterer`.
        max_outliers: See :mod:`glc.core.parameters`.
        min_cluster_size: See :mod:`glc.core.parameters`.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`.
        use_cameras: See :mod:`glc.core.parameters`.
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

    _parameter_constraints: ClassVar[Rules] = {
        **JaccardLabeler._parameter_constraints,
        **MapEquationClusterer._parameter_constraints,
    }
    cut_: float

    def __init__(
        self,
        cut: float | str = 0.5,
        max_outliers: float = 0.1,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.cut = cut
        self.max_outliers = max_outliers
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    def clusterer(self) -> MapEquationClusterer:
        """Return the map equation."""
        return MapEquationClusterer(self.cut, self.max_outliers, self.min_cluster_size, self.seed)

    def _keep(self, clusterer: Clusterer) -> None:
        self.cut_ = clusterer.cut_


class MultiScaleConsensus(JaccardMapEquation):
    """:class:`JaccardMapEquation` on the mean Jaccard distance over several neighborhood sizes.

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
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__(cut, max_outliers, min_cluster_size, k1, k2, backend, use_cameras, seed)


class JaccardHDBSCAN(JaccardLabeler):
    """HDBSCAN on the k-reciprocal Jaccard distance: no eps, clusters may differ in density.

    Args:
        min_cluster_size: See :class:`glc.core.clusterers.HDBSCANClusterer`.
        min_samples: See :class:`glc.core.clusterers.HDBSCANClusterer`.
        selection: See :class:`glc.core.clusterers.HDBSCANClusterer`.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`.
        use_cameras: See :mod:`glc.core.parameters`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    _parameter_constraints: ClassVar[Rules] = {
        **JaccardLabeler._parameter_constraints,
        **HDBSCANClusterer._parameter_constraints,
    }

    def __init__(
        self,
        min_cluster_size: int = 5,
        min_samples: int | None = None,
        selection: str = 'eom',
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.min_cluster_size = min_cluster_size
        self.min_samples = min_samples
        self.selection = selection

    def clusterer(self) -> HDBSCANClusterer:
        """Return HDBSCAN."""
        return HDBSCANClusterer(self.min_cluster_size, self.min_samples, self.selection)


class JaccardAgglomerative(JaccardLabeler):
    """Average linkage on the k-reciprocal Jaccard distance: merges while the mean distance is small.

    Args:
        distance_threshold: See :class:`glc.core.clusterers.LinkageClusterer`.
        min_cluster_size: See :mod:`glc.core.parameters`.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`.
        use_cameras: See :mod:`glc.core.parameters`.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    _parameter_constraints: ClassVar[Rules] = {
        **JaccardLabeler._parameter_constraints,
        **LinkageClusterer._parameter_constraints,
    }

    def __init__(
        self,
        distance_threshold: float = 0.6,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.distance_threshold = distance_threshold
        self.min_cluster_size = min_cluster_size

    def clusterer(self) -> LinkageClusterer:
        """Return average linkage."""
        return LinkageClusterer(self.distance_threshold, self.min_cluster_size)


class JaccardLeiden(JaccardLabeler):
    """Communities of high modularity of the k-reciprocal Jaccard graph.

    Args:
        cut: See :mod:`glc.core.parameters`.
        resolution: See :class:`glc.core.clusterers.LeidenClusterer`.
        min_cluster_size: See :mod:`glc.core.parameters`.
        k1: See :mod:`glc.core.parameters`.
        k2: See :mod:`glc.core.parameters`.
        backend: See :mod:`glc.core.parameters`.
        use_cameras: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.
    """

    _parameter_constraints: ClassVar[Rules] = {
        **JaccardLabeler._parameter_constraints,
        **LeidenClusterer._parameter_constraints,
    }

    def __init__(
        self,
        cut: float = 0.5,
        resolution: float = 1.0,
        min_cluster_size: int = 4,
        k1: int | Sequence[int] = 30,
        k2: int | Sequence[int] = 6,
        backend: str = 'auto',
        use_cameras: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(k1, k2, backend, use_cameras)
        self.cut = cut
        self.resolution = resolution
        self.min_cluster_size = min_cluster_size
        self.seed = seed

    def clusterer(self) -> LeidenClusterer:
        """Return Leiden's method."""
        return LeidenClusterer(self.cut, self.resolution, self.min_cluster_size, self.seed)
