"""Label correctors: from noisy pseudo labels and the features they came from to better labels.

GLC (graph label correction) trains a small graph network on the current pseudo labels to say which neighbours belong to the
same person, stops before it has memorised the noise, and lets it link the whole nearest-neighbour graph anew. The steps
are those of the published method; every number of it is a parameter.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from sklearn.base import BaseEstimator
from torch import Tensor

from glc.core.gcn import LinkPredictor, aggregate_neighbors, focal_loss
from glc.core.graph import knn_graph, normalized_adjacency
from glc.core.labels import ArrayOrTensor, as_labels, as_unit_features, cluster_centroids, compact_labels, like

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ['GLC', 'BaseCorrector', 'UnusableLabelsError', 'cluster_links']


class UnusableLabelsError(ValueError):
    """The labels hold nothing that a corrector could learn from."""


class BaseCorrector(BaseEstimator, ABC):
    """Interface of a label corrector: learn from the labelled images, then label all of them.

    Parameters are stored unchanged under their own names (scikit-learn's convention), so ``get_params``, ``set_params``,
    ``repr`` and ``sklearn.base.clone`` work.
    """

    @abstractmethod
    def fit(self, features: ArrayOrTensor, labels: np.ndarray | Tensor) -> Self:
        """Learn from the labelled images; see :meth:`__call__` for the arguments.

        Raises:
            UnusableLabelsError: The labels hold nothing to learn from.
        """

    @abstractmethod
    def predict(self, features: ArrayOrTensor) -> ArrayOrTensor:
        """Label all images: features (N, D) to labels (N,) of the same kind, -1 = outlier, others 0..C-1."""

    def __call__(
        self, features: ArrayOrTensor, labels: np.ndarray | Tensor, cam_ids: np.ndarray | Tensor | None = None
    ) -> ArrayOrTensor:
        """Correct pseudo labels.

        Labels that nothing can be learnt from do not stop a training run: they come back as they are, with a warning.

        Args:
            features: (N, D) float, ndarray or tensor.
            labels: (N,) integers, -1 = outlier.
            cam_ids: (N,) camera numbers, for correctors that use them.

        Returns:
            (N,) int64 corrected labels of the same kind as ``features``: -1 = outlier, others 0..C-1 without gaps.
        """
        try:
            self.fit(features, labels)
        except UnusableLabelsError as error:
            warnings.warn(f'labels left as they are: {error}', stacklevel=2)
            return like(compact_labels(as_labels(labels)), features)
        return self.predict(features)


class GLC(BaseCorrector):
    """Graph label correction.

    ``fit`` trains :class:`glc.core.gcn.LinkPredictor` on sub-graphs: a random cluster with its nearest clusters, their
    members linked to their nearest neighbours, the target of a link being "same pseudo label". ``predict`` links the
    nearest-neighbour graph of all images and takes its connected components.

    Args:
        k: Neighbours per image, itself included; fewer images than that use all of them.
        hidden_dim: Channels of the graph convolution.
        epochs: Training epochs; the learning rate falls by ``lr_decay`` between them.
        subgraphs_per_epoch: Sub-graphs drawn per epoch.
        clusters_per_subgraph: Clusters per sub-graph; fewer clusters than that use all of them.
        member_fraction: Share of the members of each cluster that a sub-graph holds, rounded down, at least one image.
        min_nodes: Sub-graphs of fewer images are skipped.
        max_nodes: Sub-graphs of more images are skipped.
        steps_per_subgraph: SGD steps per sub-graph, the early stop that keeps the network from memorising the noise.
        batch_fraction: Share of the edges of a sub-graph in one step; edges are reshuffled whenever all were used.
        lr: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        lr_decay: Factor of the learning rate per epoch.
        gamma: Exponent of the focal loss.
        link_threshold: A link is kept above this probability.
        overlap_threshold: A link is kept above this share of common neighbours.
        min_cluster_size: Clusters of fewer images become outliers (-1).
        seed: Seed of the weights and of all sampling. The global random state is neither read nor changed.
        device: Where the network runs, for instance ``'cuda:0'``; None: a GPU if there is one.
        progress: Wraps the iteration over sub-graphs, for instance ``tqdm``.

    Attributes:
        network_: The trained :class:`glc.core.gcn.LinkPredictor`.
        history_: Mean loss of every sub-graph trained on.
        timings_: Seconds: ``fit`` (all training), ``graph`` (the graph of all images), ``predict`` (its links, clusters).

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> people = np.repeat(rng.normal(size=(20, 16)), 12, axis=0)
        >>> features = people + 0.1 * rng.normal(size=people.shape)
        >>> noisy = np.where(rng.random(240) < 0.1, rng.integers(20, size=240), np.arange(240) // 12)
        >>> labels = GLC(k=12)(features, noisy)
        >>> bool((labels == np.arange(240) // 12).all())
        True
    """

    def __init__(
        self,
        *,
        k: int = 50,
        hidden_dim: int = 512,
        epochs: int = 2,
        subgraphs_per_epoch: int = 202,
        clusters_per_subgraph: int = 350,
        member_fraction: float = 0.9,
        min_nodes: int = 100,
        max_nodes: int = 100_000,
        steps_per_subgraph: int = 80,
        batch_fraction: float = 1 / 40,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-5,
        lr_decay: float = 0.1,
        gamma: float = 2.0,
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
        self.link_threshold = link_threshold
        self.overlap_threshold = overlap_threshold
        self.min_cluster_size = min_cluster_size
        self.seed = seed
        self.device = device
        self.progress = progress

    def fit(self, features: ArrayOrTensor, labels: np.ndarray | Tensor) -> Self:
        started = time.perf_counter()
        x = as_unit_features(features)
        y = as_labels(labels, len(x)).to(x.device)
        device = self._device()
        labelled = y >= 0
        x, y = x[labelled].to(device), compact_labels(y[labelled]).cpu().numpy()
        centroids = cluster_centroids(x, y)
        rng = np.random.default_rng(self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.network_ = LinkPredictor(x.shape[1], self.hidden_dim).to(device)
        optimizer = torch.optim.SGD(self.network_.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        self.history_: list[float] = []
        rounds: Iterable[int] = range(self.epochs * self.subgraphs_per_epoch)
        for index in self.progress(rounds) if self.progress else rounds:
            optimizer.param_groups[0]['lr'] = self.lr * self.lr_decay ** (index // self.subgraphs_per_epoch)
            nodes = self._draw_subgraph(y, centroids, rng)
            if self.min_nodes <= len(nodes) <= self.max_nodes:
                self.history_.append(self._train(optimizer, x[nodes], y[nodes], rng))
        self.timings_ = {'fit': time.perf_counter() - started}
        return self

    def _device(self):
        return torch.device('cpu')

    def _draw_subgraph(self, labels, centroids, rng):
        near = (centroids @ centroids[rng.integers(len(centroids))]).topk(min(self.clusters_per_subgraph, len(centroids))).indices
        sizes = np.bincount(labels)
        quota = np.zeros(len(sizes), dtype=np.int64)
        near = near.cpu().numpy()
        quota[near] = np.maximum(1, (self.member_fraction * sizes[near]).astype(np.int64))
        order = rng.permutation(len(labels))
        order = order[np.argsort(labels[order], kind='stable')]
        rank = np.arange(len(labels)) - (np.cumsum(sizes) - sizes)[labels[order]]
        return np.sort(order[rank < quota[labels[order]]])

    def _train(self, optimizer, x, y, rng):
        adjacency = normalized_adjacency(knn_graph(x, self.k))
        inputs = aggregate_neighbors(x, adjacency)
        rows, cols = adjacency.tocoo().coords
        same = torch.from_numpy((y[rows] == y[cols]).astype(np.int64)).to(x.device)
        rows, cols = (torch.from_numpy(e.astype(np.int64)).to(x.device) for e in (rows, cols))
        losses = []
        for batch in islice(shuffled_batches(len(rows), round(1 / self.batch_fraction), rng), self.steps_per_subgraph):
            logits = self.network_(inputs, rows[batch], cols[batch])
            loss = focal_loss(logits, same[batch], self.gamma)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    def predict_links(self, features):
        started = time.perf_counter()
        x = as_unit_features(features).to(self._device())
        graph = knn_graph(x, self.k)
        inputs = aggregate_neighbors(x, normalized_adjacency(graph))
        cols = graph.indices[:, 1:].ravel()
        rows = np.repeat(np.arange(len(x)), graph.indices.shape[1] - 1)
        self.timings_['graph'] = time.perf_counter() - started
        ps = []
        with torch.no_grad():
            first, second = self.network_.encode(inputs)
            r, c = torch.from_numpy(rows), torch.from_numpy(cols)
            for s in range(0, len(rows), 32768):
                ps.append(self.network_.score_pairs(first, second, r[s:s+32768], c[s:s+32768]).softmax(1)[:, 1])
        return rows, cols, torch.cat(ps).numpy()

    def predict(self, features):
        rows, cols, p = self.predict_links(features)
        return like(torch.from_numpy(cluster_links(rows, cols, p, len(features), self.link_threshold, self.overlap_threshold, self.min_cluster_size)), features)


def shuffled_batches(n, b, rng):
    while True:
        yield from np.array_split(rng.permutation(n), b)


def cluster_links(rows, cols, p, n, link_threshold=.6, overlap_threshold=.6, min_cluster_size=5):
    keep = p > link_threshold
    links = sparse.csr_array((np.ones(keep.sum(), np.float32), (rows[keep], cols[keep])), shape=(n, n))
    out = np.diff(links.indptr)
    survivors = []
    for s in range(0, n, 8192):
        part = links[s:s + 8192]
        c = (part @ links).multiply(part).tocoo()
        i, j = c.coords
        i = i + s
        good = c.data / np.maximum(np.minimum(out[i], out[j]), 1) > overlap_threshold
        survivors.append(np.stack([i[good], j[good]]))
    i, j = np.concatenate(survivors, 1)
    _, lab = connected_components(sparse.csr_array((np.ones(len(i)), (i, j)), shape=(n, n)), directed=False)
    return compact_labels(lab.astype(np.int64), min_cluster_size)
