"""One set of features, and what labelers and correctors compute from it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.distributed import ALONE, Workers
from glc.core.labels import ArrayOrTensor, as_tensor, as_unit_features, like
from glc.core.neighbors.cameras import balance_cameras, camera_levels, center_cameras, known_cameras
from glc.core.neighbors.jaccard import ReciprocalSets, Scale, as_scales
from glc.core.neighbors.jaccard_numba import kept_threads
from glc.core.neighbors.knn import KNNGraph, euclidean_graph, unit_knn_graph
from glc.core.parameters import AT_LEAST_ONE, BOOLEAN, POSITIVE, SEARCH, SHARE, SIZES, checked

Made = TypeVar('Made')

_CANDIDATES = 2  # neighbors searched for each one that is chosen by cameras
_LARGE = 2**28  # values of features that are not kept between uses: 1 GiB


class FeatureView(Generic[ArrayOrTensor]):
    """Features, cameras and the settings of the search; checked, normalized and searched once.

    Centered features, neighbors and distances are computed when they are first asked for, and kept. A labeler and a
    corrector that get the same view share them. Do not write into what a view returns, nor into the given features
    while the view is used: of very many images it reads them again (:meth:`release`).

    Args:
        features: Features (N, D), an array or a tensor; rows are scaled to unit length.
        cam_ids: Camera of every image (N,), negative where it is unknown. None, or fewer than two different known
            cameras: nothing is done about cameras.
        backend: Search of the neighbors, see :func:`glc.core.neighbors.knn.knn_graph`.
        expected_k: The first search finds the neighbors that :meth:`graphs` needs for this k, so that a later, larger
            request needs no second search.
        workers: Processes that share the search and the distances. Each must make the same calls.
        reach: Factor on the neighborhoods that fit the images per person
            (:func:`glc.core.labelers.adaptive.consensus`). With 1 most labels are right. With more, more pieces of a
            person are joined, and more different people too.
        leave_out_strangers: Whether that consensus, and careful corrections, leave alone images that belong to nobody
            else. Fewer labels are wrong then, and fewer images have one.

    Attributes:
        cam_ids: int64 tensor (N,), -1 = unknown; None where cameras cannot be told apart.

    Raises:
        ValueError: Features are empty, not (N, D) or not finite, ``cam_ids`` are not N integers, or a setting is out of
            range.

    Example:
        >>> view = FeatureView(np.array([[1.0, 0.0], [1.0, 0.1], [0.1, 1.0], [0.0, 1.0]]))
        >>> view.neighbors(2).indices[:, 1]
        tensor([1, 0, 3, 2])
        >>> view.distance(scales=2, k2=1).toarray().round(3)[0]
        array([0.  , 0.01, 0.  , 0.  ], dtype=float32)
    """

    @checked(
        **SEARCH, expected_k=AT_LEAST_ONE, workers=[Workers], reach=POSITIVE, leave_out_strangers=BOOLEAN
    )
    def __init__(
        self,
        features: ArrayOrTensor,
        cam_ids: np.ndarray | Tensor | None = None,
        *,
        backend: str = 'auto',
        expected_k: int = 1,
        workers: Workers = ALONE,
        reach: float = 1.0,
        leave_out_strangers: bool = True,
    ) -> None:
        self._unscaled: Any = features
        self._unit = True
        self._features: Tensor | None = None
        self._centered: Tensor | None = None
        self._shape = self.features.shape
        self._device = self.features.device
        self.cam_ids = known_cameras(cam_ids, len(self))
        self.backend = backend
        self.expected_k = expected_k
        self.workers = workers
        self.reach = reach
        self.leave_out_strangers = leave_out_strangers
        self._given: Any = features
        self._kept: dict[Hashable, Any] = {}
        self._found: KNNGraph | None = None
        self._balanced: KNNGraph | None = None
        self._distance: tuple[tuple[tuple[Scale, ...], float], sparse.csr_array] | None = None

    def __len__(self) -> int:
        return self._shape[0]

    @property
    def device(self) -> torch.device:
        """Device of the features."""
        return self._device

    @property
    def features(self) -> Tensor:
        """The features (N, D), float32 with unit rows; as they were given in the view of :meth:`as_given`."""
        if self._features is None:
            self._features = (
                as_unit_features(self._unscaled)
                if self._unit
                else as_tensor(self._unscaled, 'features').to(self.device, torch.float32)
            )
        return self._features

    @property
    def centered(self) -> Tensor:
        """The features (N, D), centered per camera where cameras are known; unit rows."""
        if self.cam_ids is None:
            return self.features
        if self._centered is None:
            self._centered = center_cameras(self.features, self.cam_ids)
        return self._centered

    def release(self, centered: bool = True) -> None:
        """Let go of features of more than 2 ** 28 values; they are computed anew where they are asked for again.

        Args:
            centered: Those of :attr:`centered` too.
        """
        if self._shape.numel() <= _LARGE:
            return
        if centered:
            self._centered = None
        if centered or self.cam_ids is not None:  # without cameras they are the centered ones
            self._features = None

    @checked(k=AT_LEAST_ONE)
    def neighbors(self, k: int) -> KNNGraph:
        """Find the nearest neighbors of the centered features.

        Args:
            k: Neighbors per image, itself included.

        Returns:
            Their graph on the device of the features, with k clipped to N. A larger k that was found before serves a
            smaller one.

        Raises:
            ValueError: ``k`` is below 1, or the backend is unknown.
        """
        if self._found is None or self._found.k < min(k, len(self)):
            wanted = max(k, self.expected_k * (1 if self.cam_ids is None else _CANDIDATES))
            if self._unit:
                self._found = unit_knn_graph(self.centered, wanted, self.backend, workers=self.workers)
            else:
                self._found = euclidean_graph(self.features, wanted)
        return self._found.first(k)

    @property
    def found(self) -> KNNGraph | None:
        """All neighbors of the centered features that were found so far."""
        return self._found

    @checked(k=AT_LEAST_ONE)
    def graphs(self, k: int) -> list[KNNGraph]:
        """Find the nearest neighbors, plain and, where cameras are known, balanced between cameras as well.

        Args:
            k: Neighbors per image, itself included.

        Returns:
            One graph, or two, see :func:`glc.core.neighbors.cameras.balance_cameras`.
        """
        if self.cam_ids is None:
            return [self.neighbors(k)]
        if self._balanced is None or self._balanced.k != min(k, len(self)):
            candidates = self.neighbors(_CANDIDATES * k)
            self._balanced = balance_cameras(candidates, self.cam_ids, self._levels, k)
        return [self.neighbors(k), self._balanced]

    @checked(scales=SIZES, k2=SIZES, max_distance=SHARE)
    def distance(
        self, scales: int | Sequence[int] = 30, k2: int | Sequence[int] = 6, max_distance: float = 1.0
    ) -> sparse.csr_array:
        """Compute the mean k-reciprocal Jaccard distance over neighborhood sizes and :meth:`graphs`.

        Args:
            scales: Neighborhood sizes, the k1 of :func:`glc.core.neighbors.jaccard.jaccard_distance`.
            k2: Neighbors, with itself, whose encodings are averaged; at most the scale. One number, or one per scale.
            max_distance: Larger distances are left out.

        Returns:
            Symmetric sparse float32 distances (N, N), see :func:`glc.core.neighbors.jaccard.jaccard_distance`. Only the
            last ones are kept.

        Raises:
            ValueError: A parameter is out of range.
        """
        wanted = (as_scales(scales, k2, 'FeatureView.distance'), max_distance)
        if self._distance is None or self._distance[0] != wanted:
            self._distance = None  # two of them would not be needed, and may not fit into memory
            self._distance = wanted, mean_distance([self], *wanted)
        return self._distance[1]

    def remember(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Compute something from the view once, and keep it.

        Args:
            key: What it is.
            make: Computes it; called where nothing is kept under the key.
        """
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def without_cameras(self) -> FeatureView[ArrayOrTensor]:
        """Return a view of the same features that knows no cameras."""
        return self if self.cam_ids is None else self._cameraless

    def as_given(self) -> FeatureView[ArrayOrTensor]:
        """Return a view of the features as they were given, not scaled to unit length; it knows no cameras.

        Its neighbors are the nearest by Euclidean distance, and its Jaccard distance weights them by
        ``exp(-(2 - 2 <x, y>))``. The published networks with a multi neck are clustered so.
        """
        return self.remember('as given', self._made_as_given)

    def with_features(self, features: Tensor) -> FeatureView[ArrayOrTensor]:
        """Return a view of other features (N, D') of the same images, with the same cameras and settings."""
        return self._derived(features, self.cam_ids)

    def of_images(self, images: Tensor) -> FeatureView[ArrayOrTensor]:
        """Return a view of some of the images, int64 indices (M,), with the same settings."""
        return self._derived(self.features[images], None if self.cam_ids is None else self.cam_ids[images])

    def expect(self, k: int) -> None:
        """Expect :meth:`graphs` of this k, from 1 on, in place of what was expected so far."""
        self.expected_k = k

    def to(self, device: torch.device) -> FeatureView[ArrayOrTensor]:
        """Return the view with its features and neighbors on a device; this one if they are there."""
        if device == self.device:
            return self
        return self.remember(
            device, lambda: self._derived(self.features.to(device), self.cam_ids, found=self._found)
        )

    def alone(self) -> FeatureView[ArrayOrTensor]:
        """Return a view with the same features and neighbors whose work this process does by itself."""
        return (
            self if self.workers.size == 1 else self._derived(self.features, self.cam_ids, ALONE, self._found)
        )

    def result(self, labels: np.ndarray) -> ArrayOrTensor:
        """Return labels (N,) as int64 of the kind, and on the device, of the features that the view was made of."""
        return like(torch.from_numpy(labels.astype(np.int64, copy=False)), self._given)

    def _derived(
        self,
        features: Tensor,
        cam_ids: Tensor | None,
        workers: Workers | None = None,
        found: KNNGraph | None = None,
    ) -> FeatureView[ArrayOrTensor]:
        view: FeatureView = FeatureView(
            features,
            cam_ids,
            backend=self.backend,
            expected_k=self.expected_k,
            workers=workers or self.workers,
            reach=self.reach,
            leave_out_strangers=self.leave_out_strangers,
        )
        view._given = self._given
        view._found = found and found.to(features.device)
        return view

    def _made_as_given(self) -> FeatureView[ArrayOrTensor]:
        view = self._derived(self.features, None)
        view._unscaled, view._unit, view._features = self._unscaled, False, None
        return view

    @cached_property
    def _levels(self) -> Tensor:
        assert self.cam_ids is not None
        return camera_levels(self.centered, self.cam_ids)

    @cached_property
    def _cameraless(self) -> FeatureView[ArrayOrTensor]:
        return self._derived(self.features, None)


@kept_threads()
def mean_distance(
    views: Sequence[FeatureView[Any]], scales: Sequence[Scale], max_distance: float
) -> sparse.csr_array:
    """Compute the mean Jaccard distance over the graphs of several views of the same images.

    Args:
        views: Views of N images, which let go of their features if there are very many; the processes of the first one
            share the work.
        scales: Pairs (k1, k2).
        max_distance: Larger distances are left out.

    Returns:
        Symmetric sparse float32 distances (N, N), see :meth:`FeatureView.distance`.
    """
    k = max(scales)[0]
    sets = ReciprocalSets([(view.centered, graph) for view in views for graph in view.graphs(k)], scales)
    for view in views:
        view.release()
    return sets.distance(max_distance, views[0].workers)
