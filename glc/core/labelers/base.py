"""The interface of pseudo-labelers: from the features of all images to labels."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClusterMixin
from torch import Tensor

from glc.core.labels import ArrayOrTensor
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import Checked, Rules
from glc.core.timing import Timings


class BaseLabeler(Checked, ClusterMixin, BaseEstimator):
    """Base of pseudo-labelers; a scikit-learn clusterer (``fit``, ``fit_predict``, ``get_params``) too.

    A subclass implements ``_label`` and declares its parameters in ``_parameter_constraints``.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        timings_: Seconds of the last call's stages, see :class:`glc.core.timing.Timings`.

    Example:
        >>> class OneCluster(BaseLabeler):
        ...     def _label(self, view):
        ...         return np.zeros(len(view), np.int64)
        >>> OneCluster()(np.eye(3))
        array([0, 0, 0])
    """

    _parameter_constraints: ClassVar[Rules] = {}
    backend: str = 'auto'
    labels_: np.ndarray | Tensor
    timings_: Timings

    def __call__(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Label the images.

        Args:
            features: Features (N, D), an array or a tensor, whose rows are scaled to unit length first; or a view.
            cam_ids: Camera of every image (N,), negative where it is unknown; a view has its own.

        Returns:
            int64 labels (N,), of the kind and on the device of the features: -1 = outlier, others 0..C-1.

        Raises:
            ValueError: Features are empty, not (N, D) or not finite, ``cam_ids`` are not N integers, or a parameter
                of the labeler is out of range.
        """
        self.check()
        view = as_view(features, cam_ids, self.backend, self.expected_k)
        self.timings_ = Timings()
        return view.result(self._label(view))

    def fit(
        self,
        X: ArrayOrTensor | FeatureView[ArrayOrTensor],
        y: None = None,
        *,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> Self:
        """Label the images and keep the result in ``labels_``.

        Args:
            X: Features (N, D), or a view.
            y: Ignored, by the convention of scikit-learn.
            cam_ids: Camera of every image (N,), negative where it is unknown.

        Returns:
            The labeler itself.
        """
        self.labels_ = self(X, cam_ids)
        return self

    @property
    def expected_k(self) -> int:
        """The largest neighborhood that is asked of a view."""
        return 1

    def seen(self, view: FeatureView[ArrayOrTensor]) -> FeatureView[ArrayOrTensor]:
        """Return what the labeler sees of a view: all of it, or less."""
        return view

    def advice(self, num_clusters: int) -> str:
        """Say which parameters to change where there are fewer than two clusters.

        Args:
            num_clusters: 0 or 1.

        Returns:
            Half a sentence, such as 'raise eps or lower min_samples'; empty where there is nothing to say.
        """
        return ''

    def state_dict(self) -> dict[str, float]:
        """Return what one labeling hands to the next, for checkpoints; most labelers hand over nothing."""
        return {}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take the state of a run that is being resumed; an empty one starts anew."""

    @abstractmethod
    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        """Label the images of a view: int64 (N,), -1 = outlier, others 0..C-1."""


def as_view(
    features: ArrayOrTensor | FeatureView[ArrayOrTensor],
    cam_ids: np.ndarray | Tensor | None,
    backend: str,
    expected_k: int,
) -> FeatureView[ArrayOrTensor]:
    """Return the view that a labeler or corrector works on: the given one, or one of the given features.

    Raises:
        TypeError: Cameras are given beside a view.
        ValueError: As :class:`glc.core.neighbors.view.FeatureView`.
    """
    if not isinstance(features, FeatureView):
        return FeatureView(features, cam_ids, backend=backend, expected_k=expected_k)
    if cam_ids is not None:
        raise TypeError('a FeatureView has its own cameras: give cam_ids to FeatureView(features, cam_ids)')
    return features
