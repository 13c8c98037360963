"""Training of the link network on noisy labels, stopped before it has memorized the noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from glc.core.correctors.link_network import (
    LinkPredictor,
    aggregate_neighbors,
    focal_loss,
    normalized_adjacency,
)
from glc.core.labels import UnusableLabelsError, unit_centroids
from glc.core.neighbors.knn import KNNGraph, unit_knn_graph
from glc.core.parameters import (
    AT_LEAST_ONE,
    BOOLEAN,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SHARE,
    CheckedFields,
    Interval,
    Rules,
    checked,
)

Progress = Callable[[Iterable[int]], Iterable[int]]
Join = Callable[[np.ndarray], KNNGraph]

_HELDOUT_STRIDE = 8


@dataclass(frozen=True)
class LinkTraining(CheckedFields):
    """The schedule that trains a :class:`glc.core.correctors.link_network.LinkPredictor` on pseudo labels.

    A sub-graph holds a random cluster and those nearest to it, with their members joined to their nearest neighbors.
    The target of an edge is "same pseudo label".

    The defaults need less time than the published numbers (:data:`PUBLISHED_TRAINING`) and learn more from few steps:
    fewer channels and sub-graphs, scaled inputs, a classifier that starts as a distance, a lower learning rate at which
    the loss does not jump back to the start, and early stopping that is measured (``patience``).

    Args:
        hidden_dim: Channels of the graph convolution.
        epochs: Training epochs; ``lr`` is multiplied by ``lr_decay`` between them.
        subgraphs_per_epoch: Sub-graphs drawn per epoch.
        clusters_per_subgraph: Clusters per sub-graph; with fewer clusters all of them.
        member_fraction: Share of the members of each cluster that a sub-graph holds; at least one member.
        min_nodes: Sub-graphs of fewer images are skipped.
        max_nodes: Sub-graphs of more images are skipped.
        steps_per_subgraph: Steps per sub-graph. Few steps keep the network from memorizing the noise.
        batch_fraction: Share of the edges of a sub-graph per step; reshuffled when all were used.
        cluster_batches: A step takes the edges of a few random clusters, not edges at random. They have far fewer
            images, and each goes through the network once, so a step is faster.
        lr: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        lr_decay: Factor on the learning rate per epoch.
        gamma: Exponent of the focal loss.
        scale_inputs: Multiply ``[x, A x]`` by sqrt(D), which gives the channels of unit features a mean square of 1.
            Without it the first sub-graphs teach next to nothing.
        distance_start: Start the classifier as a distance
            (:meth:`glc.core.correctors.link_network.LinkPredictor.start_as_distance`), not at random.
        clip_norm: Longest gradient of a step; longer ones are shortened to it, which keeps few images with
            contradictory labels from blowing up the network. None: no limit.
        patience: Stop when so many sub-graphs in a row did not lower the best loss so far, each measured before the
            network was trained on it: then it no longer learns what new labels follow, only what seen ones said. None
            trains on all of them.

    Raises:
        ValueError: A number is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'hidden_dim': AT_LEAST_ONE,
        'epochs': AT_LEAST_ONE,
        'subgraphs_per_epoch': AT_LEAST_ONE,
        'clusters_per_subgraph': [Interval(Integral, 2, None, closed='left')],
        'member_fraction': SHARE,
        'min_nodes': AT_LEAST_ONE,
        'max_nodes': AT_LEAST_ONE,
        'steps_per_subgraph': AT_LEAST_ONE,
        'batch_fraction': [Interval(Real, 1e-6, 1, closed='both')],
        'cluster_batches': BOOLEAN,
        'lr': NOT_NEGATIVE,
        'momentum': SHARE,
        'weight_decay': NOT_NEGATIVE,
        'lr_decay': NOT_NEGATIVE,
        'gamma': NOT_NEGATIVE,
        'scale_inputs': BOOLEAN,
        'distance_start': BOOLEAN,
        'clip_norm': [*POSITIVE, None],
        'patience': [*AT_LEAST_ONE, None],
    }

    hidden_dim: int = 128
    epochs: int = 2
    subgraphs_per_epoch: int = 4
    clusters_per_subgraph: int = 350
    member_fraction: float = 0.9
    min_nodes: int = 100
    max_nodes: int = 100_000
    steps_per_subgraph: int = 80
    batch_fraction: float = 1 / 40
    cluster_batches: bool = True
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 1e-5
    lr_decay: float = 0.1
    gamma: float = 2.0
    scale_inputs: bool = True
    distance_start: bool = True
    clip_norm: float | None = 1.0
    patience: int | None = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_nodes > self.max_nodes:
            raise ValueError(
                f'LinkTraining needs min_nodes <= max_nodes, got min_nodes={self.min_nodes}, max_nodes={self.max_nodes}'
            )

    @checked(k=AT_LEAST_ONE, **SEED, progress=[callable, None], join=[callable, None])
    def run(
        self,
        features: Tensor,
        labels: np.ndarray,
        k: int,
        seed: int,
        progress: Progress | None = None,
        join: Join | None = None,
    ) -> TrainedLinks:
        """Train a network.

        Args:
            features: float32 unit features (N, D) of labeled images; training runs on their device.
            labels: Labels (N,) in 0..C-1, all of them used.
            k: Neighbors per image, itself included.
            seed: Seed of the weights and of all sampling; the global random state is left alone.
            progress: Wraps the iteration over the sub-graphs, e.g. ``tqdm``.
            join: Returns the kNN graph among the images of a sub-graph, of which it gets the rising indices (M,). None
                searches for their nearest neighbors by ``features``.

        Returns:
            The network and its losses.

        Raises:
            UnusableLabelsError: Fewer than ``min_nodes`` images, only one cluster, only clusters of one image, or no
                sub-graph of a size between ``min_nodes`` and ``max_nodes``.
            RuntimeError: The loss is no longer finite.
        """
        self._check_labels(labels)
        # The caller may have switched gradients off.
        with torch.inference_mode(False), torch.enable_grad():
            features = features.clone() if features.is_inference() else features
            return self._train(
                features, labels, seed, progress, join or (lambda nodes: unit_knn_graph(features[nodes], k))
            )

    def inputs(self, neighbors: Tensor) -> Tensor:
        """Scale ``[x, A x]`` (N, 2 D) in place to what the network is trained on."""
        return neighbors.mul_((neighbors.shape[1] // 2) ** 0.5 if self.scale_inputs else 1.0)

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

    def _train(
        self,
        features: Tensor,
        labels: np.ndarray,
        seed: int,
        progress: Progress | None,
        join: Join,
    ) -> TrainedLinks:
        rng = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            network = LinkPredictor(features.shape[1], self.hidden_dim)
        if self.distance_start:
            network.start_as_distance()
        network.to(features.device)
        optimizer = torch.optim.SGD(
            network.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay
        )
        centroids = unit_centroids(features, torch.from_numpy(labels).to(features.device))
        trained = TrainedLinks(network)
        draws: Iterable[int] = range(self.epochs * self.subgraphs_per_epoch)
        for draw in progress(draws) if progress else draws:
            optimizer.param_groups[0]['lr'] = self.lr * self.lr_decay ** (draw // self.subgraphs_per_epoch)
            nodes = draw_subgraph(centroids, labels, self.clusters_per_subgraph, self.member_fraction, rng)
            if self.min_nodes <= len(nodes) <= self.max_nodes:
                self._train_subgraph(trained, optimizer, features[nodes], labels[nodes], join(nodes), rng)
            if self.patience is not None and trained.rounds_since_best >= self.patience:
                break
        if not trained.history:
            raise UnusableLabelsError(
                f'every sub-graph had fewer than min_nodes={self.min_nodes} or more than '
                f'max_nodes={self.max_nodes} images; change these or '
                f'clusters_per_subgraph={self.clusters_per_subgraph}'
            )
        return trained

    def _train_subgraph(
        self,
        trained: TrainedLinks,
        optimizer: torch.optim.Optimizer,
        features: Tensor,
        labels: np.ndarray,
        graph: KNNGraph,
        rng: np.random.Generator,
    ) -> None:
        """Take the steps of one sub-graph of features (M, D) and labels (M,)."""
        adjacency = normalized_adjacency(graph)
        inputs = self.inputs(aggregate_neighbors(features, adjacency))
        edges = adjacency.tocoo()
        same = torch.from_numpy(labels[edges.row] == labels[edges.col]).long().to(features.device)
        rows, cols = (torch.from_numpy(ends).long().to(features.device) for ends in (edges.row, edges.col))

        def loss_of(chosen: slice | Tensor) -> Tensor:
            # Only the images of these edges go through the network.
            images, ends = torch.stack([rows[chosen], cols[chosen]]).unique(return_inverse=True)
            return focal_loss(
                trained.network(inputs.index_select(0, images), *ends), same[chosen], self.gamma
            )

        groups = labels[edges.row] if self.cluster_batches else None
        batches = shuffled_batches(len(same), round(1 / self.batch_fraction), rng, groups)
        if self.patience is not None:
            with torch.no_grad():
                trained.heldout.append(float(loss_of(slice(None, None, _HELDOUT_STRIDE))))
        losses = []
        for batch in islice(batches, self.steps_per_subgraph):
            loss = loss_of(torch.from_numpy(batch).to(features.device))
            optimizer.zero_grad()
            loss.backward()
            if self.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(trained.network.parameters(), self.clip_norm)
            optimizer.step()
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not np.isfinite(mean):
            raise RuntimeError(
                f'training diverged on sub-graph {len(trained.history)} (loss {mean}); lower lr={self.lr}'
            )
        trained.history.append(mean)


PUBLISHED_TRAINING = LinkTraining(
    hidden_dim=512,
    epochs=2,
    subgraphs_per_epoch=202,
    clusters_per_subgraph=350,
    member_fraction=0.9,
    min_nodes=100,
    max_nodes=100_000,
    steps_per_subgraph=80,
    batch_fraction=1 / 40,
    cluster_batches=False,
    lr=0.1,
    momentum=0.9,
    weight_decay=1e-5,
    lr_decay=0.1,
    gamma=2.0,
    scale_inputs=False,
    distance_start=False,
    clip_norm=None,
    patience=None,
)
"""The published schedule: hours on a CPU, minutes on a GPU."""


@dataclass
class TrainedLinks:
    """A network that was trained on pseudo labels.

    Args:
        network: The network.
        history: Mean loss of every sub-graph that it was trained on.
        heldout: Loss of every sub-graph before it was trained on; empty without ``patience``.
    """

    network: LinkPredictor
    history: list[float] = field(default_factory=list)
    heldout: list[float] = field(default_factory=list)

    @property
    def rounds_since_best(self) -> int:
        """Sub-graphs since the one with the lowest loss before it was trained on."""
        return len(self.heldout) - 1 - int(np.argmin(self.heldout)) if self.heldout else 0


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


def shuffled_batches(
    num_edges: int, num_batches: int, rng: np.random.Generator, groups: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Cut a random permutation of the edges into ``num_batches`` equal parts, again and again.

    Args:
        num_edges: E.
        num_batches: Parts, at most E.
        rng: Source of randomness.
        groups: Numbers (E,) from 0 on; the edges of a group stay side by side. None: no groups.
    """
    while True:
        order = rng.permutation(num_edges)
        if groups is not None:
            order = order[np.argsort(rng.permutation(groups.max() + 1)[groups[order]], kind='stable')]
        yield from np.array_split(order, min(num_batches, num_edges))
