"""Graph label correction: a small graph network, trained on the pseudo labels, links the images anew."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glc.core.correctors.base import BaseCorrector
from glc.core.correctors.evidence import accept_changes
from glc.core.correctors.link_network import LinkPredictor
from glc.core.correctors.link_training import PUBLISHED_TRAINING, LinkTraining, Progress
from glc.core.correctors.linking import (
    PUBLISHED_LINKING,
    CommunityLinking,
    ComponentLinking,
    ConsensusLinking,
    Linking,
    LinkScorer,
)
from glc.core.labelers.base import as_view
from glc.core.labels import ArrayOrTensor, as_labels, compact_labels, with_class_scores
from glc.core.neighbors.knn import KNNGraph, subgraph, unit_knn_graph
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import (
    BOOLEAN,
    CAMERAS,
    SEED,
    SHARE,
    HasMethods,
    Interval,
    Rules,
    StrOptions,
    check_parameters,
    checked,
)
from glc.core.timing import Timings

_LINKINGS: dict[str, Linking] = {
    'consensus': ConsensusLinking(),
    'communities': CommunityLinking(),
    'components': ComponentLinking(),
}
_TRAINING = LinkTraining()


class GLC(BaseCorrector):
    """Graph label correction.

    - ``fit`` trains a link network on the labeled images: which neighbors show the same person? It takes the neighbors
      that a view has found already.
    - Training stops early, before the network has memorized the noise.
    - ``predict`` lets the network judge the links between all images and finds the clusters anew.
    - A call does both. :meth:`published` has the published numbers, which need hours on a CPU.

    Args:
        k: Neighbors per image, itself included; with fewer images all of them are neighbors.
        training: The schedule of the training.
        linking: How links become clusters: ``'consensus'``
            (:class:`glc.core.correctors.linking.ConsensusLinking`), ``'communities'``
            (:class:`glc.core.correctors.linking.CommunityLinking`), ``'components'`` as published
            (:class:`glc.core.correctors.linking.ComponentLinking`), or such an object.
        careful: Make only those changes that the features speak for, judged without the labels
            (:func:`glc.core.correctors.evidence.accept_changes`). For a call; ``predict`` always clusters anew.
        score_share: Share of class scores in the similarities of the graph
            (:func:`glc.core.labels.with_class_scores`); 0.5 is an option of the published code. Above 0, ``predict``
            and ``predict_links`` need labels.
        use_cameras: See :mod:`glc.core.parameters`.
        seed: Seed of the weights and of all sampling; the global random state is left alone.
        device: Where the network runs, e.g. ``'cuda:1'``; None is a GPU if there is one, else the CPU.
        progress: Wraps the iteration over the sub-graphs, e.g. ``tqdm``; None is silent.
        **changes: Fields of ``training`` and ``linking`` to set otherwise, for instance ``lr`` or ``min_cluster_size``.

    Attributes:
        network_: The trained network.
        history_: Mean loss of every sub-graph trained on.
        heldout_: Loss of every sub-graph before it was trained on; empty without ``patience``.
        timings_: Seconds of 'fit', 'knn', 'jaccard' (not for components), 'links', 'cluster' and 'evidence'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(20), 12)
        >>> features = rng.normal(size=(20, 16))[identity] + 0.1 * rng.normal(size=(240, 16))
        >>> noisy = np.where(rng.random(240) < 0.05, -1, identity)  # some images were left out
        >>> labels = GLC()(features, noisy)
        >>> bool((labels == identity).all())
        True
        >>> GLC(lr=0.01).training.lr
        0.01
    """

    _parameter_constraints: ClassVar[Rules] = {
        'k': [Interval(Integral, 2, None, closed='left')],
        'training': [LinkTraining],
        'linking': [HasMethods('__call__'), StrOptions(set(_LINKINGS))],
        'careful': BOOLEAN,
        'score_share': SHARE,
        **CAMERAS,
        **SEED,
        'device': [str, torch.device, None],
        'progress': [callable, None],
    }
    network_: LinkPredictor
    history_: list[float]
    heldout_: list[float]

    def __init__(
        self,
        *,
        k: int = 20,
        training: LinkTraining = _TRAINING,
        linking: str | Linking = 'consensus',
        careful: bool = True,
        score_share: float = 0.0,
        use_cameras: bool = True,
        seed: int = 0,
        device: str | torch.device | None = None,
        progress: Progress | None = None,
        **changes: Any,
    ) -> None:
        check_parameters(self, {'training': training, 'linking': linking}, self._parameter_constraints)
        self.k = k
        self.training, changes = _changed(training, changes)
        self.linking, changes = _changed(_LINKINGS[linking] if isinstance(linking, str) else linking, changes)
        self.careful = careful
        self.score_share = score_share
        self.use_cameras = use_cameras
        self.seed = seed
        self.device = device
        self.progress = progress
        if changes:
            raise TypeError(
                f'GLC has no parameter {", ".join(changes)}; its training has '
                f'{", ".join(_names(self.training))}, its {type(self.linking).__name__} has '
                f'{", ".join(_names(self.linking))}'
            )
        # Not self.check(), which would make plain numbers of others: clone needs to find what it gave.
        check_parameters(self, self.get_params(deep=False), self._parameter_constraints)

    def check(self) -> None:
        """Check the parameters.

        Raises:
            ValueError: One is out of range, or there is no such device.
        """
        super().check()
        if isinstance(self.linking, str):  # of set_params
            self.linking = _LINKINGS[self.linking]
        try:
            self._target_device()
        except RuntimeError as error:
            raise ValueError(f"The 'device' parameter of GLC must be a device of torch. {error}") from None

    @classmethod
    def published(cls, **changes: Any) -> Self:
        """Return GLC with every number as published: hours on a CPU, minutes on a GPU.

        Args:
            **changes: Parameters to set otherwise, for instance ``seed`` or ``subgraphs_per_epoch``.
        """
        numbers = {
            'k': 50,
            'training': PUBLISHED_TRAINING,
            'linking': PUBLISHED_LINKING,
            'careful': False,
            'use_cameras': False,
        }
        return cls(**{**numbers, **changes})

    def fit(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        *,
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> Self:
        """Train the network on the labeled images.

        Args:
            features: Features (N, D), whose rows are scaled to unit length first; or a view.
            labels: Integer labels (N,); negative = outlier, not used.
            cam_ids: Camera of every image (N,), for ``use_cameras``; negative where it is unknown.

        Returns:
            The corrector itself.

        Raises:
            UnusableLabelsError: See :meth:`glc.core.correctors.link_training.LinkTraining.run`.
            ValueError: Features are empty, not (N, D) or not finite, labels are not N integers, or a
                parameter is out of range.
            RuntimeError: The loss is no longer finite.
        """
        view = self._view(features, cam_ids)
        self.timings_ = Timings()
        self._fit(view, as_labels(labels, len(view)).cpu().numpy())
        return self

    @checked(network=[LinkPredictor])
    def use_network(self, network: LinkPredictor) -> Self:
        """Take a network that is trained already, for instance the published one, instead of training one.

        Args:
            network: Moved to the device of the corrector. ``predict`` feeds it as it was trained if the parameters are
                those of its training; the published network belongs to ``GLC.published()``.

        Returns:
            The corrector itself; a later ``fit`` trains a new network.
        """
        self.check()
        self.timings_ = Timings()
        self.network_ = network.to(self._target_device()).eval()
        return self

    def predict(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        *,
        cam_ids: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Link all images and number the clusters.

        Args:
            features: Features (N, D), whose rows are scaled to unit length first; or a view.
            cam_ids: Camera of every image (N,), for ``use_cameras``; negative where it is unknown.
            labels: Labels (N,) that these images have, where known, for communities to lean on; negative = outlier.

        Returns:
            int64 labels (N,), of the kind and on the device of the features: -1 = outlier, others 0..C-1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: Features are empty, not (N, D) or not finite, or D is not the D of ``fit``.
        """
        view = self._view(features, cam_ids)
        return view.result(self._predict(view, _known(labels, view)))

    def predict_links(
        self,
        features: np.ndarray | Tensor | FeatureView[Any],
        *,
        cam_ids: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
    ) -> sparse.csr_array:
        """Compute the probability that two neighbors show the same person.

        Args:
            features: Features (N, D), whose rows are scaled to unit length first; or a view.
            cam_ids: Camera of every image (N,), for ``use_cameras``; negative where it is unknown.
            labels: Labels (N,) that these images have, for ``score_share``; negative = outlier.

        Returns:
            float32 sparse matrix (N, N) with the link from image i to its neighbor j at (i, j), the input of
            :func:`glc.core.correctors.linking.cluster_links`.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: Features are empty, not (N, D) or not finite, or D is not the D of ``fit``.
        """
        view: FeatureView[Any] = self._view(features, cam_ids)
        return self._scorer(self._seen(view), _known(labels, view)).neighbor_links()

    @property
    def expected_k(self) -> int:
        """The larger of ``k`` and what the linking needs."""
        return max(self.k, self.linking.expected_k)

    def _correct(self, view: FeatureView[Any], labels: np.ndarray) -> np.ndarray:
        if self._seen(view).found is None:  # the training takes what was found
            with self.timings_.stage('knn'):
                self._seen(view).neighbors(self.expected_k)
        self._fit(view, labels)
        proposal = self._predict(view, labels)
        seen = self._seen(view)
        if not self.careful:
            return proposal
        with self.timings_.stage('evidence'):
            anew = isinstance(self.linking, ConsensusLinking)
            return accept_changes(seen, labels, proposal, self.seed, anew)

    def _fit(self, view: FeatureView[Any], labels: np.ndarray) -> None:
        with self.timings_.stage('fit'):
            labeled = np.flatnonzero(labels >= 0)
            seen = self._seen(view)
            features, known = seen.centered[labeled], compact_labels(labels[labeled])
            seen_features = self._graph_features(features, known) if self.score_share else features

            def join(nodes: np.ndarray) -> KNNGraph:
                if self.score_share or seen.found is None:
                    return unit_knn_graph(seen_features[nodes], self.k)
                images = torch.from_numpy(labeled[nodes]).to(seen.device)
                return subgraph(seen.found, seen.centered, images, self.k)

            trained = self.training.run(features, known, self.k, self.seed, self.progress, join)
        self.network_, self.history_, self.heldout_ = trained.network, trained.history, trained.heldout

    def _predict(self, view: FeatureView[Any], labels: np.ndarray | None) -> np.ndarray:
        view = self._seen(view)
        return self.linking(view, self._scorer(view, labels), labels, self.seed, self.timings_)

    def _graph_features(self, features: Tensor, labels: np.ndarray) -> Tensor:
        return with_class_scores(features, torch.from_numpy(labels).to(features.device), self.score_share)

    def _scorer(self, view: FeatureView[Any], labels: np.ndarray | None) -> LinkScorer:
        check_is_fitted(self, 'network_')
        fitted = self.network_.conv1.weight.shape[0] // 2
        if view.features.shape[1] != fitted:
            raise ValueError(f'fitted on features of {fitted} channels, got {view.features.shape[1]}')
        with self.timings_.stage('knn'):
            if not self.score_share:
                graph = view.neighbors(self.k)
            elif labels is None or labels.max(initial=-1) < 0:
                raise ValueError(
                    f'score_share={self.score_share} needs labels: give those that the images have'
                )
            else:
                graph = unit_knn_graph(
                    self._graph_features(view.centered, labels), self.k, self.backend, workers=view.workers
                )
        with self.timings_.stage('links'):
            return LinkScorer(self.network_, self.training, view.centered, graph)

    def _view(
        self,
        features: ArrayOrTensor | FeatureView[ArrayOrTensor],
        cam_ids: np.ndarray | Tensor | None,
    ) -> FeatureView[ArrayOrTensor]:
        self.check()
        return as_view(features, cam_ids, self.backend, self.expected_k)

    def _seen(self, view: FeatureView[Any]) -> FeatureView[Any]:
        """The view as the network sees it."""
        return (view if self.use_cameras else view.without_cameras()).to(self._target_device())

    def _target_device(self) -> torch.device:
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        return torch.device(self.device or default)


def _known(labels: np.ndarray | Tensor | None, view: FeatureView[Any]) -> np.ndarray | None:
    return None if labels is None else compact_labels(as_labels(labels, len(view))).cpu().numpy()


def _names(part: Any) -> list[str]:
    return [field.name for field in fields(part)] if is_dataclass(part) else []


def _changed(part: Any, changes: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A dataclass with those of the changes that it has as fields, and the other changes."""
    own = {name: changes[name] for name in changes.keys() & set(_names(part))}
    others = {name: value for name, value in changes.items() if name not in own}
    return (replace(part, **own) if own else part), others
