"""Label correctors: from noisy pseudo labels, and the features they came from, to better labels.

GLC (graph label correction) trains a small graph network on the current pseudo labels to say which neighbours
show the same person, stops before it has memorised the noise, and lets it link the neighbours anew.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from glc.core.cameras import camera_views, center_cameras
from glc.core.communities import cut_communities, follow_labels, largest_cut
from glc.core.gcn import LinkPredictor, aggregate_neighbors, focal_loss
from glc.core.graph import KNNGraph, knn_graph, normalized_adjacency
from glc.core.jaccard import mean_jaccard_distance
from glc.core.labels import (
    ArrayOrTensor,
    as_labels,
    as_unit_features,
    cluster_centroids,
    compact_labels,
    like,
)

_PAIRS_PER_BLOCK = 2**15  # 64 MiB of float32 at 512 channels
_ROWS_PER_BLOCK = 2**13
_HELDOUT_STRIDE = 8
_ALL = slice(None)

# Closed ranges of the parameters of GLC.
_INTEGERS = {
    'k': 2,
    'hidden_dim': 1,
    'epochs': 1,
    'subgraphs_per_epoch': 1,
    'clusters_per_subgraph': 2,
    'min_nodes': 1,
    'max_nodes': 1,
    'steps_per_subgraph': 1,
    'min_cluster_size': 1,
    'seed': 0,
}
_REALS = {
    'member_fraction': (0, 1),
    'batch_fraction': (1e-6, 1),
    'lr': (0, np.inf),
    'momentum': (0, 1),
    'weight_decay': (0, np.inf),
    'lr_decay': (0, np.inf),
    'gamma': (0, np.inf),
    'link_threshold': (0, 1),
    'overlap_threshold': (0, 1),
    'max_outliers': (0, 1),
    'follow_share': (0, 1),
}


class UnusableLabelsError(ValueError):
    """The labels hold nothing that a corrector could learn from."""


class BaseCorrector(BaseEstimator, ABC):
    """Interface of a label corrector: learn from the labelled images, then label all of them.

    Parameters are stored unchanged under their own names (scikit-learn's convention), so ``get_params``,
    ``set_params``, ``repr`` and ``sklearn.base.clone`` work.

    Example:
        >>> class NoCorrection(BaseCorrector):
        ...     def fit(self, features, labels):
        ...         self.labels_ = labels
        ...         return self
        ...     def predict(self, features):
        ...         return self.labels_
        >>> NoCorrection()(np.eye(3), np.array([0, 0, -1]))
        array([ 0,  0, -1])
    """

    @abstractmethod
    def fit(self, features: np.ndarray | Tensor, labels: np.ndarray | Tensor) -> Self:
        """Learn from the labelled images.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            labels: Integer labels (N,); negative = outlier, not used.

        Raises:
            UnusableLabelsError: The labels hold nothing to learn from.
        """

    @abstractmethod
    def predict(self, features: ArrayOrTensor) -> ArrayOrTensor:
        """Label all images.

        Args:
            features: Features (N, D); rows are scaled to unit length first.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.
        """

    def __call__(
        self, features: ArrayOrTensor, labels: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None = None
    ) -> ArrayOrTensor:
        """Correct pseudo labels: ``fit`` on the labelled images, ``predict`` all.

        Labels that nothing can be learnt from do not stop a training run: they come back as they are, only
        renumbered without gaps, with a warning.

        Args:
            features: Features (N, D), an array or a tensor; rows are scaled to unit length first.
            labels: Integer labels (N,); negative = outlier.
            cam_ids: Camera of every image (N,), for correctors that use it.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.

        Raises:
            ValueError: Features are empty, not (N, D) or not finite, or labels are not N integers.
        """
        try:
            return self._correct(features, labels, cam_ids)
        except UnusableLabelsError as error:
            warnings.warn(f'labels left as they are: {error}', stacklevel=2)
            return like(compact_labels(as_labels(labels)), features)

    def _correct(
        self, features: ArrayOrTensor, labels: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None
    ) -> ArrayOrTensor:
        """Fit and predict; a corrector that uses cameras hands them on here."""
        return self.fit(features, labels).predict(features)


class GLC(BaseCorrector):
    """Graph label correction.

    ``fit`` trains a :class:`glc.core.gcn.LinkPredictor` on sub-graphs: a random cluster and those nearest to
    it, their members joined to their nearest neighbours; the target of an edge is "same pseudo label".
    ``predict`` links the graph of all images anew and finds the clusters in it: communities of a random walk or,
    as published, connected components of the likely links.

    The defaults differ from the published numbers (:meth:`published`) where those harm labels or time: fewer
    neighbours, channels and sub-graphs; inputs scaled and a classifier started as a distance, which make the
    network useful after few steps; a lower learning rate, at which the loss does not jump back to the start; an
    early stop that is measured (``patience``); and communities instead of components on the links that the
    k-reciprocal neighbours support too, so that a false link does not merge two people and an image is not
    dropped for lack of common links.

    With components, ``link_threshold`` decides how much noise is borne: where a share q of the true links is
    labelled "same", the focal loss teaches probabilities well below q (0.58 for q = 0.7). A higher value separates
    cleaner labels better and turns the images of noisier ones into outliers.

    Args:
        k: Neighbours per image, itself included; with fewer images all of them are neighbours.
        hidden_dim: Channels of the graph convolution.
        epochs: Training epochs; ``lr`` is multiplied by ``lr_decay`` between them.
        subgraphs_per_epoch: Sub-graphs drawn per epoch.
        clusters_per_subgraph: Clusters per sub-graph; with fewer clusters all of them.
        member_fraction: Share of the members of each cluster that a sub-graph holds; at least one member.
        min_nodes: Sub-graphs of fewer images are skipped.
        max_nodes: Sub-graphs of more images are skipped.
        steps_per_subgraph: Steps per sub-graph. Few steps are the early stop that keeps the network from
            memorising the noise.
        batch_fraction: Share of the edges of a sub-graph per step; reshuffled when all were used.
        lr: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        lr_decay: Factor on the learning rate per epoch.
        gamma: Exponent of the focal loss.
        scale_inputs: Multiply ``[x, A x]`` by sqrt(D), which gives the channels of unit features a mean
            square of 1; without it the first sub-graphs teach next to nothing.
        distance_start: Start the classifier as a distance
            (:meth:`glc.core.gcn.LinkPredictor.start_as_distance`), not at random.
        clip_norm: Longest gradient of a step; longer ones are shortened to it, which keeps few images with
            contradictory labels from blowing up the network. None: no limit.
        patience: Stop when so many sub-graphs in a row did not lower the best loss so far, each measured before
            the sub-graph was trained on: then the network no longer learns what new labels follow, only what
            seen ones said. None trains on all of them.
        linking: How links become clusters. 'communities': every edge of the Jaccard graph at the
            ``scales`` gets its similarity times the root of the probability of its link, and
            :func:`glc.core.communities.cut_communities` finds the clusters. 'components': the links of the
            nearest neighbours alone, by :func:`cluster_links`.
        scales: For communities: neighbourhood sizes, see :func:`glc.core.jaccard.jaccard_distance`.
        max_outliers: For communities: share of the images left without a cluster at most, where that is possible.
        follow_share: For communities: images left without a cluster follow those of their label where more than this
            share of them is in one cluster (:func:`glc.core.communities.follow_labels`).
        use_cameras: Take out what the cameras put in, where they are known
            (:func:`glc.core.cameras.camera_views`).
        link_threshold: For components: links must be more probable than this.
        overlap_threshold: For components: linked images must share more than this part of their links.
        min_cluster_size: Clusters of fewer images become outliers.
        seed: Seed of the weights and of all sampling; the global random state is left alone.
        device: Where the network runs, e.g. ``'cuda:1'``; None is a GPU if there is one, else the CPU.
        progress: Wraps the iteration over the sub-graphs, e.g. ``tqdm``; None is silent.

    Attributes:
        network_: The trained network.
        history_: Mean loss of every sub-graph trained on.
        heldout_: Loss of every sub-graph before it was trained on; empty without ``patience``.
        timings_: Seconds of 'fit' (all training), 'graph' (the neighbours of all images), 'jaccard' (for communities:
            the distances), 'links' (their probabilities) and 'clusters'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(20), 12)
        >>> features = rng.normal(size=(20, 16))[identity] + 0.1 * rng.normal(size=(240, 16))
        >>> noisy = np.where(rng.random(240) < 0.05, -1, identity)  # some images were left out
        >>> labels = GLC()(features, noisy)
        >>> bool((labels == identity).all())
        True
    """

    network_: LinkPredictor
    history_: list[float]
    heldout_: list[float]
    timings_: dict[str, float]

    def __init__(
        self,
        *,
        k: int = 20,
        hidden_dim: int = 128,
        epochs: int = 2,
        subgraphs_per_epoch: int = 4,
        clusters_per_subgraph: int = 350,
        member_fraction: float = 0.9,
        min_nodes: int = 100,
        max_nodes: int = 100_000,
        steps_per_subgraph: int = 80,
        batch_fraction: float = 1 / 40,
        lr: float = 0.05,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        lr_decay: float = 0.1,
        gamma: float = 2.0,
        scale_inputs: bool = True,
        distance_start: bool = True,
        clip_norm: float | None = 1.0,
        patience: int | None = 2,
        linking: str = 'communities',
        scales: Sequence[int] = (10, 20, 40, 80),
        max_outliers: float = 0.1,
        follow_share: float = 0.8,
        use_cameras: bool = True,
        link_threshold: float = 0.6,
        overlap_threshold: float = 0.6,
        min_cluster_size: int = 5,
        seed: int = 0,
        device: str | torch.device | None = None,
        progress: Callable[[Iterable[int]], Iterable[int]] | None = None,
    ) -> None:
        self.k = k
        self.hidden_dim = hidden_dim
        self.epochs = epochs
        self.subgraphs_per_epoch = subgraphs_per_epoch
        self.clusters_per_subgraph = clusters_per_subgraph
        self.member_fraction = member_fraction
        self.min_nodes = min_nodes
        self.max_nodes = max_nodes
        self.steps_per_subgraph = steps_per_subgraph
        self.batch_fraction = batch_fraction
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.lr_decay = lr_decay
        self.gamma = gamma
        self.scale_inputs = scale_inputs
        self.distance_start = distance_start
        self.clip_norm = clip_norm
        self.patience = patience
        self.linking = linking
        self.scales = scales
        self.max_outliers = max_outliers
        self.follow_share = follow_share
        self.use_cameras = use_cameras
        self.link_threshold = link_threshold
        self.overlap_threshold = overlap_threshold
        self.min_cluster_size = min_cluster_size
        self.seed = seed
        self.device = device
        self.progress = progress
        self._check_parameters()

    @classmethod
    def published(cls, **overrides: Any) -> Self:
        """GLC with every number as published: hours on a CPU, minutes on a GPU.

        Args:
            **overrides: Parameters to set otherwise, for instance ``seed`` or ``subgraphs_per_epoch``.
        """
        numbers: dict[str, Any] = {
            'k': 50,
            'hidden_dim': 512,
            'epochs': 2,
            'subgraphs_per_epoch': 202,
            'clusters_per_subgraph': 350,
            'member_fraction': 0.9,
            'min_nodes': 100,
            'max_nodes': 100_000,
            'steps_per_subgraph': 80,
            'batch_fraction': 1 / 40,
            'lr': 0.1,
            'momentum': 0.9,
            'weight_decay': 1e-5,
            'lr_decay': 0.1,
            'gamma': 2.0,
            'scale_inputs': False,
            'distance_start': False,
            'clip_norm': None,
            'patience': None,
            'linking': 'components',
            'use_cameras': False,
            'link_threshold': 0.6,
            'overlap_threshold': 0.6,
            'min_cluster_size': 5,
        }
        return cls(**{**numbers, **overrides})

    def fit(
        self,
        features: np.ndarray | Tensor,
        labels: np.ndarray | Tensor,
        cam_ids: np.ndarray | Tensor | None = None,
    ) -> Self:
        """Train the network on the labelled images.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            labels: Integer labels (N,); negative = outlier, not used.
            cam_ids: Camera of every image (N,), where known, for ``use_cameras``.

        Returns:
            The corrector itself.

        Raises:
            UnusableLabelsError: Fewer than ``min_nodes`` labelled images, only one cluster, only clusters of
                one image, or no sub-graph of a size between ``min_nodes`` and ``max_nodes``.
            ValueError: Features are empty, not (N, D) or not finite, labels are not N integers, or a
                parameter is out of range.
            RuntimeError: The loss is no longer finite.
        """
        self._check_parameters()
        self.timings_ = {}
        with self._timed('fit'):
            x = as_unit_features(features)
            y = as_labels(labels, len(x)).cpu().numpy()
            if self.use_cameras and cam_ids is not None:
                x = center_cameras(x, cam_ids)
            labelled = np.flatnonzero(y >= 0)
            clusters = compact_labels(y[labelled])
            self._check_labels(clusters)
            # The caller may have switched gradients off.
            with torch.inference_mode(False), torch.enable_grad():
                self._train(x[labelled].to(self._target_device()), clusters)
        return self

    def use_network(self, network: LinkPredictor) -> Self:
        """Take a network that is trained already, for instance the published one, instead of training one.

        Args:
            network: Moved to the device of the corrector. ``predict`` feeds it as it was trained if the parameters are
                those of its training; the published network belongs to ``GLC.published()``.

        Returns:
            The corrector itself; a later ``fit`` trains a new network.
        """
        self._check_parameters()
        self.timings_ = {}
        self.network_ = network.to(self._target_device()).eval()
        return self

    def predict(
        self,
        features: ArrayOrTensor,
        cam_ids: np.ndarray | Tensor | None = None,
        labels: np.ndarray | Tensor | None = None,
    ) -> ArrayOrTensor:
        """Link the nearest-neighbour graph of all images and number its clusters.

        Args:
            features: Features (N, D); rows are scaled to unit length first.
            cam_ids: Camera of every image (N,), where known, for ``use_cameras``.
            labels: Labels (N,) that these images have, where known, for communities to lean on; negative = outlier.

        Returns:
            int64 labels (N,), of the kind and on the device of ``features``: -1 = outlier, others 0..C-1.

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: Features are empty, not (N, D) or not finite, or D is not the D of ``fit``.
        """
        if self.linking == 'components':
            known = cam_ids if self.use_cameras else None
            x = as_unit_features(features)
            probabilities = self.predict_links(x if known is None else center_cameras(x, known))
            with self._timed('clusters'):
                corrected = cluster_links(
                    probabilities, self.link_threshold, self.overlap_threshold, self.min_cluster_size
                )
        else:
            distance = self._link_distance(features, cam_ids if self.use_cameras else None)
            with self._timed('clusters'):
                corrected, _ = cut_communities(
                    distance, 'auto', self.max_outliers, self.min_cluster_size, self.seed
                )
                if labels is not None:
                    known = as_labels(labels, len(corrected)).cpu().numpy()
                    corrected = follow_labels(corrected, known, self.follow_share)
        return like(torch.from_numpy(corrected), features)

    def predict_links(self, features: np.ndarray | Tensor) -> sparse.csr_array:
        """Probability that two neighbours show the same person, the input of :func:`cluster_links`.

        Args:
            features: Features (N, D); rows are scaled to unit length first.

        Returns:
            float32 sparse matrix (N, N) with the link from image i to its neighbour j at (i, j).

        Raises:
            sklearn.exceptions.NotFittedError: ``fit`` was not called.
            ValueError: Features are empty, not (N, D) or not finite, or D is not the D of ``fit``.
        """
        x = self._checked(features)
        with self._timed('graph'):
            graph = knn_graph(x, self.k)
        with self._timed('links'):
            neighbors = graph.arrays()[0][:, 1:]
            rows = np.arange(len(x)).repeat(neighbors.shape[1])
            probabilities = self._probabilities(self._encode(x, graph), rows, neighbors.ravel())
        indptr = np.arange(len(x) + 1) * neighbors.shape[1]
        return sparse.csr_array((probabilities, neighbors.ravel(), indptr), shape=(len(x), len(x)))

    def _correct(
        self, features: ArrayOrTensor, labels: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None
    ) -> ArrayOrTensor:
        return self.fit(features, labels, cam_ids).predict(features, cam_ids, labels)

    def _link_distance(
        self, features: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None
    ) -> sparse.csr_array:
        """1 - sqrt(p) (1 - d), d the multi-scale Jaccard distance, p the probability of a link; where d is small."""
        x = self._checked(features)
        with self._timed('graph'):
            x, graphs = camera_views(x, cam_ids, max(self.k, *self.scales))
            nearest = KNNGraph(graphs[0].indices[:, : self.k], graphs[0].similarities[:, : self.k])
        with self._timed('jaccard'):
            views = [(x, graph) for graph in graphs]
            distance = mean_jaccard_distance(views, self.scales, max_distance=largest_cut('auto'))
        with self._timed('links'):
            edges = sparse.triu(distance, k=1).tocoo()
            encoded = self._encode(x, nearest)
            there, back = (
                self._probabilities(encoded, *ends)
                for ends in ((edges.row, edges.col), (edges.col, edges.row))
            )
            similarity = (1 - edges.data) * np.sqrt((there + back) / 2)
        upper = sparse.csr_array((1 - similarity, (edges.row, edges.col)), shape=edges.shape)
        return upper + upper.T

    def _checked(self, features: np.ndarray | Tensor) -> Tensor:
        """Unit features on the device of the network."""
        check_is_fitted(self, 'network_')
        x = as_unit_features(features).to(self._target_device())
        fitted = self.network_.conv1.weight.shape[0] // 2
        if x.shape[1] != fitted:
            raise ValueError(f'fitted on features of {fitted} channels, got {x.shape[1]}')
        return x

    @torch.no_grad()
    def _encode(self, features: Tensor, graph: KNNGraph) -> tuple[Tensor, Tensor]:
        """What the head knows of every image, two tensors (N, H)."""
        adjacency = normalized_adjacency(graph)
        blocks = [
            self.network_.encode(self._inputs(features, adjacency, slice(start, start + _ROWS_PER_BLOCK)))
            for start in range(0, len(features), _ROWS_PER_BLOCK)
        ]
        first, second = (torch.cat(parts) for parts in zip(*blocks, strict=True))
        return first, second

    @torch.no_grad()
    def _probabilities(
        self, encoded: tuple[Tensor, Tensor], rows: np.ndarray, cols: np.ndarray
    ) -> np.ndarray:
        """Probability of "same" of every pair (E,)."""
        device = encoded[0].device
        probabilities = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _PAIRS_PER_BLOCK):
            pairs = slice(start, start + _PAIRS_PER_BLOCK)
            ends = (torch.from_numpy(side[pairs]).long().to(device) for side in (rows, cols))
            scores = self.network_.score_pairs(*encoded, *ends).softmax(dim=1)[:, 1]
            probabilities[pairs] = scores.cpu().numpy()
        return probabilities

    def _train(self, features: Tensor, labels: np.ndarray) -> None:
        """Train on random sub-graphs: features (N, D) and labels (N,) of the labelled images only."""
        rng = np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.network_ = LinkPredictor(features.shape[1], self.hidden_dim)
        if self.distance_start:
            self.network_.start_as_distance()
        self.network_.to(features.device)
        optimizer = torch.optim.SGD(
            self.network_.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay
        )
        centroids = cluster_centroids(features, labels)
        self.history_ = []
        self.heldout_ = []
        draws: Iterable[int] = range(self.epochs * self.subgraphs_per_epoch)
        for draw in self.progress(draws) if self.progress else draws:
            optimizer.param_groups[0]['lr'] = self.lr * self.lr_decay ** (draw // self.subgraphs_per_epoch)
            nodes = draw_subgraph(centroids, labels, self.clusters_per_subgraph, self.member_fraction, rng)
            if self.min_nodes <= len(nodes) <= self.max_nodes:
                self.history_.append(self._train_subgraph(optimizer, features[nodes], labels[nodes], rng))
            if self.patience is not None and _rounds_since_best(self.heldout_) >= self.patience:
                break
        if not self.history_:
            raise UnusableLabelsError(
                f'every sub-graph had fewer than min_nodes={self.min_nodes} or more than '
                f'max_nodes={self.max_nodes} images; change these or '
                f'clusters_per_subgraph={self.clusters_per_subgraph}'
            )

    def _train_subgraph(
        self, optimizer: torch.optim.Optimizer, features: Tensor, labels: np.ndarray, rng: np.random.Generator
    ) -> float:
        """Take the steps of one sub-graph, features (M, D) and labels (M,), and return their mean loss."""
        adjacency = normalized_adjacency(knn_graph(features, self.k))
        inputs = self._inputs(features, adjacency)
        edges = adjacency.tocoo()
        same = torch.from_numpy(labels[edges.row] == labels[edges.col]).long().to(features.device)
        rows, cols = (torch.from_numpy(ends).long().to(features.device) for ends in (edges.row, edges.col))
        batches = shuffled_batches(len(same), round(1 / self.batch_fraction), rng)
        if self.patience is not None:
            with torch.no_grad():
                some = slice(None, None, _HELDOUT_STRIDE)
                self.heldout_.append(float(self._loss(inputs, rows[some], cols[some], same[some])))
        losses = []
        for batch in islice(batches, self.steps_per_subgraph):
            edge = torch.from_numpy(batch).to(features.device)
            loss = self._loss(inputs, rows[edge], cols[edge], same[edge])
            optimizer.zero_grad()
            loss.backward()
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(self.network_.parameters(), self.clip_norm)
            optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not np.isfinite(mean):
            raise RuntimeError(
                f'training diverged on sub-graph {len(self.history_)} (loss {mean}); lower lr={self.lr}'
            )
        return mean

    def _loss(self, inputs: Tensor, rows: Tensor, cols: Tensor, same: Tensor) -> Tensor:
        return focal_loss(self.network_(inputs, rows, cols), same, self.gamma)

    def _inputs(self, features: Tensor, adjacency: sparse.csr_array, rows: slice = _ALL) -> Tensor:
        scale = features.shape[1] ** 0.5 if self.scale_inputs else 1.0
        return aggregate_neighbors(features, adjacency, rows).mul_(scale)

    def _target_device(self) -> torch.device:
        default = 'cuda' if torch.cuda.is_available() else 'cpu'
        return torch.device(self.device or default)

    def _check_parameters(self) -> None:
        for name, minimum in _INTEGERS.items():
            value: Any = getattr(self, name)
            if not isinstance(value, Integral) or value < minimum:
                raise ValueError(f'{name} must be an integer of at least {minimum}, got {value!r}')
        for name, (low, high) in _REALS.items():
            value = getattr(self, name)
            if not isinstance(value, Real) or not low <= float(value) <= high:
                raise ValueError(f'{name} must be a number from {low} to {high}, got {value!r}')
        if self.linking not in ('communities', 'components'):
            raise ValueError(f"linking must be 'communities' or 'components', got {self.linking!r}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f'clip_norm must be None or above 0, got {self.clip_norm}')
        if self.patience is not None and self.patience < 1:
            raise ValueError(f'patience must be None or at least 1, got {self.patience}')

    def _check_labels(self, labels: np.ndarray) -> None:
        num_images, num_clusters = len(labels), len(np.unique(labels))
        if num_images < self.min_nodes:
            raise UnusableLabelsError(
                f'{num_images} images have a label, fewer than min_nodes={self.min_nodes}'
            )
        if num_clusters in (1, num_images):
            raise UnusableLabelsError(
                f'{num_clusters} clusters for {num_images} images: links within clusters and links between '
                'clusters are needed'
            )

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.timings_[stage] = time.perf_counter() - started


def _rounds_since_best(losses: list[float]) -> int:
    return len(losses) - 1 - int(np.argmin(losses)) if losses else 0


def draw_subgraph(
    centroids: Tensor, labels: np.ndarray, num_clusters: int, member_fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Draw a random cluster, the clusters nearest to it, and a part of the members of each.

    Args:
        centroids: Unit centroids (C, D).
        labels: Integer labels (N,) in 0..C-1.
        num_clusters: Clusters to take, the random one included; C if there are fewer.
        member_fraction: Share of the members of each cluster, rounded down, but at least one member.
        rng: Source of randomness.

    Returns:
        int64 rising indices (M,) of the drawn images.
    """
    anchor = centroids[int(rng.integers(len(centroids)))]
    nearest = (centroids @ anchor).topk(min(num_clusters, len(centroids))).indices.cpu().numpy()
    sizes = np.bincount(labels)
    quotas = np.zeros_like(sizes)
    quotas[nearest] = np.maximum(1, member_fraction * sizes[nearest])
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind='stable')]  # cluster by cluster, at random within each
    rank = np.arange(len(labels)) - (sizes.cumsum() - sizes)[labels[order]]
    return np.sort(order[rank < quotas[labels[order]]])


def shuffled_batches(num_edges: int, num_batches: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Cut a random permutation of the edges into ``num_batches`` equal parts, again and again."""
    while True:
        yield from np.array_split(rng.permutation(num_edges), min(num_batches, num_edges))


def cluster_links(
    probabilities: sparse.csr_array,
    link_threshold: float = 0.6,
    overlap_threshold: float = 0.6,
    min_cluster_size: int = 5,
) -> np.ndarray:
    """Turn link probabilities into clusters.

    Links more probable than ``link_threshold`` are kept: B in {0, 1}^(N, N). With ``n_i`` kept links out of
    image i and ``c_ij = (B B)_ij`` common neighbours, the link (i, j) stays if the larger of ``c_ij / n_i``
    and ``c_ij / n_j`` is above ``overlap_threshold``. Connected components are clusters.

    Args:
        probabilities: Sparse matrix (N, N) of directed link probabilities, without a diagonal.
        link_threshold: See above.
        overlap_threshold: See above; ``c_ij / 0`` counts as infinite.
        min_cluster_size: Clusters of fewer images become outliers.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.

    Example:
        >>> links = np.kron(np.eye(2), 1 - np.eye(3))  # two times three images, all linked
        >>> links[2, 3] = 0.9  # a wrong link: nothing in common
        >>> cluster_links(sparse.csr_array(links), overlap_threshold=0.4, min_cluster_size=3)
        array([0, 0, 0, 1, 1, 1])
    """
    kept = probabilities.copy()
    kept.data = (probabilities.data > link_threshold).astype(np.int32)
    kept.eliminate_zeros()
    num_links = np.diff(kept.indptr)
    ends = []
    for start in range(0, kept.shape[0], _ROWS_PER_BLOCK):
        rows = kept[start : start + _ROWS_PER_BLOCK]
        common = (rows @ kept).multiply(rows).tocoo()
        i, j = common.row + start, common.col
        fewer = np.minimum(num_links[i], num_links[j]).clip(min=1)
        ends.append(np.stack([i, j])[:, common.data / fewer > overlap_threshold])
    i, j = np.concatenate(ends, axis=1)
    links = sparse.csr_array((np.ones(len(i), np.int8), (i, j)), shape=kept.shape)
    components = connected_components(links, directed=False)[1]
    return compact_labels(components.astype(np.int64), min_cluster_size)
