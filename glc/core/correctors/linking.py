"""From the probabilities of links to clusters."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.clusterers import ComponentClusterer, MapEquationClusterer, RelativeMapEquationClusterer
from glc.core.clusterers.base import as_graph
from glc.core.correctors.base import follow_labels, penalize_different_labels
from glc.core.correctors.link_network import LinkPredictor, aggregate_neighbors, normalized_adjacency
from glc.core.correctors.link_training import LinkTraining
from glc.core.correctors.whitening import learned_view, metric_of_labels
from glc.core.labelers.adaptive import AdaptiveConsensus, consensus, scales_for
from glc.core.labels import UnusableLabelsError, compact_labels
from glc.core.neighbors.jaccard import as_scales
from glc.core.neighbors.knn import KNNGraph
from glc.core.neighbors.view import FeatureView, mean_distance
from glc.core.parameters import (
    FOLLOW,
    MIN_CLUSTER_SIZE,
    POSITIVE_SHARE,
    SHARE,
    CheckedFields,
    Rules,
    Several,
    checked,
)
from glc.core.timing import Timings

_PAIRS_PER_BLOCK = 2**15  # 64 MiB of float32 at 512 channels
_ROWS_PER_BLOCK = 2**13
_K2 = 6
_COMPONENT_RULES: Rules = {'link_threshold': SHARE, 'overlap_threshold': SHARE, **MIN_CLUSTER_SIZE}


class LinkScorer:
    """Probabilities of links between the images of one graph.

    Args:
        network: A trained network.
        training: The schedule that trained it, which says how its inputs are scaled.
        features: float32 unit features (N, D) on the device of the network.
        graph: Their nearest neighbors.
    """

    @torch.no_grad()
    def __init__(
        self, network: LinkPredictor, training: LinkTraining, features: Tensor, graph: KNNGraph
    ) -> None:
        self.network = network
        self.graph = graph
        adjacency = normalized_adjacency(graph)
        blocks = [
            network.encode(training.inputs(aggregate_neighbors(features, adjacency, rows)))
            for rows in (
                slice(start, start + _ROWS_PER_BLOCK) for start in range(0, len(features), _ROWS_PER_BLOCK)
            )
        ]
        self._first, self._second = (torch.cat(parts) for parts in zip(*blocks, strict=True))

    @torch.no_grad()
    def probabilities(self, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
        """Return the probability (E,) that image ``rows[e]`` and image ``cols[e]`` show the same person."""
        device = self._first.device
        probabilities = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), _PAIRS_PER_BLOCK):
            pairs = slice(start, start + _PAIRS_PER_BLOCK)
            ends = (torch.from_numpy(side[pairs]).long().to(device) for side in (rows, cols))
            scores = self.network.score_pairs(self._first, self._second, *ends).softmax(dim=1)[:, 1]
            probabilities[pairs] = scores.cpu().numpy()
        return probabilities

    def neighbor_links(self) -> sparse.csr_array:
        """Return the probability of the link from every image i to its neighbor j at (i, j), sparse (N, N)."""
        neighbors = self.graph.numpy()[0][:, 1:]
        num_images, per_image = neighbors.shape
        rows = np.arange(num_images).repeat(per_image)
        probabilities = self.probabilities(rows, neighbors.ravel())
        indptr = np.arange(num_images + 1) * per_image
        return sparse.csr_array((probabilities, neighbors.ravel(), indptr), shape=(num_images, num_images))

    def weighted(
        self, distance: sparse.csr_array, exponent: float = 0.5, relative: bool = False
    ) -> sparse.csr_array:
        """Multiply similarities by a power of the probability p of the link, the mean of both directions.

        Args:
            distance: Symmetric sparse distances (N, N).
            exponent: Of the probability.
            relative: Divide the probabilities by their median, so that similarities keep their level.

        Returns:
            Symmetric sparse distances (N, N) without a diagonal: 1 - p^exponent (1 - d), at least 0.
        """
        edges = sparse.triu(distance, k=1).tocoo()
        there, back = (self.probabilities(*ends) for ends in ((edges.row, edges.col), (edges.col, edges.row)))
        probabilities = (there + back) / 2
        if relative and len(probabilities):
            probabilities /= max(np.median(probabilities), np.finfo(np.float32).tiny)
        similarity = np.minimum((1 - edges.data) * probabilities**exponent, 1)
        upper = sparse.csr_array((1 - similarity, (edges.row, edges.col)), shape=edges.shape)
        return upper + upper.T


class Linking(Protocol):
    """What turns a view and the links that a network sees in it into clusters."""

    @property
    def expected_k(self) -> int:
        """The largest neighborhood that is asked of a view."""

    def __call__(
        self,
        view: FeatureView[Any],
        scorer: LinkScorer,
        labels: np.ndarray | None,
        seed: int,
        timings: Timings,
    ) -> np.ndarray:
        """Label all images (N,): -1 = outlier, others 0..C-1."""


@dataclass(frozen=True)
class CommunityLinking(CheckedFields):
    """Communities of the Jaccard graph, whose edges are weighted by the probabilities of their links.

    Every edge gets its similarity times the root of the probability of its link. A false link does not merge two
    people, and an image is not dropped for lack of common links.

    Args:
        scales: See :mod:`glc.core.parameters`.
        max_outliers: See :mod:`glc.core.parameters`.
        follow_share: See :mod:`glc.core.parameters`.
        min_cluster_size: See :mod:`glc.core.parameters`.

    Raises:
        ValueError: A parameter is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'scales': [Several(Integral, _K2, None, closed='left')],
        'max_outliers': SHARE,
        **FOLLOW,
        **MIN_CLUSTER_SIZE,
    }

    scales: tuple[int, ...] = (10, 20, 40, 80)
    max_outliers: float = 0.1
    follow_share: float = 0.8
    min_cluster_size: int = 5

    @property
    def expected_k(self) -> int:
        """The largest scale."""
        return max(self.scales)

    def __call__(
        self,
        view: FeatureView[Any],
        scorer: LinkScorer,
        labels: np.ndarray | None,
        seed: int,
        timings: Timings,
    ) -> np.ndarray:
        """Label all images.

        Args:
            view: Features and cameras of N images.
            scorer: Probabilities of links between them.
            labels: Labels (N,) that the images have, -1 = outlier; None: unknown.
            seed: Seed of the order in which images move between communities.
            timings: Gets the seconds of 'knn', 'jaccard', 'links' and 'cluster'.

        Returns:
            int64 labels (N,): -1 = outlier, others 0..C-1.
        """
        clusterer = MapEquationClusterer('auto', self.max_outliers, self.min_cluster_size, seed)
        with timings.stage('knn'):
            view.graphs(self.expected_k)
        with timings.stage('jaccard'):
            distance = view.distance(self.scales, _K2, clusterer.reach)
        with timings.stage('links'):
            weighted = scorer.weighted(distance)
        with timings.stage('cluster'):
            clusters = clusterer(weighted)
            return clusters if labels is None else follow_labels(clusters, labels, self.follow_share)


@dataclass(frozen=True)
class ConsensusLinking(CheckedFields):
    """Communities of a consensus graph, whose edges are weighted by the probabilities of their links.

    The graph has the neighborhoods of :func:`glc.core.labelers.adaptive.consensus`, which fit the number of images per
    person, so there is no cut to choose. Where labels are known, it is the mean over the features as they are and those
    in the metric that the labels teach, as in :class:`glc.core.correctors.metric_consensus.MetricConsensus`. Every edge
    gets its similarity times a power of the probability of its link, relative to the median probability. The network
    learned from neighbors that the graph has already, and ranks edges worse than their similarities do. So the power is
    small, and the level of the similarities stays: a lower one would split people.

    Args:
        shrinkage: Least weight of no change in the learned metric, in (0, 1].
        link_weight: The power, in [0, 1].
        label_weight: Share of its similarity that a pair with different labels loses
            (:func:`glc.core.correctors.base.penalize_different_labels`).
        min_cluster_size: See :mod:`glc.core.parameters`.

    Raises:
        ValueError: A parameter is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'shrinkage': POSITIVE_SHARE,
        'link_weight': SHARE,
        'label_weight': SHARE,
        **MIN_CLUSTER_SIZE,
    }

    shrinkage: float = 0.3
    link_weight: float = 0.1
    label_weight: float = 0.1
    min_cluster_size: int = 2
    expected_k = AdaptiveConsensus().expected_k

    def __call__(
        self,
        view: FeatureView[Any],
        scorer: LinkScorer,
        labels: np.ndarray | None,
        seed: int,
        timings: Timings,
    ) -> np.ndarray:
        """Label all images; see :meth:`CommunityLinking.__call__`."""
        clusterer = RelativeMapEquationClusterer(min_cluster_size=self.min_cluster_size, seed=seed)
        found = consensus(view, seed, timings)
        scales = as_scales(*scales_for(found.sizes[-1]))
        with timings.stage('knn'):
            views = [view, *([] if labels is None else self._learned(view, labels))]
            for seen in views:
                seen.graphs(max(scales)[0])
        with timings.stage('jaccard'):
            distance = mean_distance(views, scales, clusterer.reach)
        with timings.stage('links'):
            weighted = scorer.weighted(distance, self.link_weight, relative=True)
        with timings.stage('cluster'):
            if labels is not None:
                weighted = penalize_different_labels(weighted, labels, self.label_weight)
            return compact_labels(np.where(found.strangers, -1, clusterer(weighted)), self.min_cluster_size)

    def _learned(self, view: FeatureView[Any], labels: np.ndarray) -> list[FeatureView[Any]]:
        try:
            metric = metric_of_labels(view, labels, self.shrinkage)
        except UnusableLabelsError:
            return []  # too few clusters, or copies of one image only
        return [learned_view(view, view.centered.mean(0), metric)]


@dataclass(frozen=True)
class ComponentLinking(CheckedFields):
    """Connected components of the likely links between nearest neighbors, as published; see :func:`cluster_links`.

    ``link_threshold`` decides how much noise is borne. Where a share q of the true links is labeled "same", the focal
    loss teaches probabilities well below q (0.58 for q = 0.7). A higher value separates cleaner labels better and turns
    the images of noisier ones into outliers.

    Args:
        link_threshold: Links must be more probable than this.
        overlap_threshold: Linked images must share more than this part of their links.
        min_cluster_size: See :mod:`glc.core.parameters`.

    Raises:
        ValueError: A parameter is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = _COMPONENT_RULES

    link_threshold: float = 0.6
    overlap_threshold: float = 0.6
    min_cluster_size: int = 5
    expected_k = 1

    def __call__(
        self,
        view: FeatureView[Any],
        scorer: LinkScorer,
        labels: np.ndarray | None,
        seed: int,
        timings: Timings,
    ) -> np.ndarray:
        """Label all images; see :meth:`CommunityLinking.__call__`. View, labels and seed do not matter here."""
        with timings.stage('links'):
            links = scorer.neighbor_links()
        with timings.stage('cluster'):
            return cluster_links(links, self.link_threshold, self.overlap_threshold, self.min_cluster_size)


PUBLISHED_LINKING = ComponentLinking(link_threshold=0.6, overlap_threshold=0.6, min_cluster_size=5)
"""The published thresholds."""


@checked(**_COMPONENT_RULES)
def cluster_links(
    probabilities: sparse.csr_array,
    link_threshold: float = 0.6,
    overlap_threshold: float = 0.6,
    min_cluster_size: int = 5,
) -> np.ndarray:
    """Turn link probabilities into clusters.

    Links more probable than ``link_threshold`` are kept: B in {0, 1}^(N, N). With ``n_i`` kept links out of
    image i and ``c_ij = (B B)_ij`` common neighbors, the link (i, j) stays if both images have kept links and the
    larger of ``c_ij / n_i`` and ``c_ij / n_j`` is above ``overlap_threshold``. Connected components are clusters.

    Args:
        probabilities: Sparse matrix (N, N) of directed link probabilities, without a diagonal.
        link_threshold: See above.
        overlap_threshold: See above.
        min_cluster_size: Clusters of fewer images become outliers.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.

    Raises:
        ValueError: A parameter is out of range, or the links are not a square sparse matrix of numbers in [0, 1].

    Example:
        >>> links = np.kron(np.eye(2), 1 - np.eye(3))  # two times three images, all linked
        >>> links[2, 3] = 0.9  # a wrong link: nothing in common
        >>> cluster_links(sparse.csr_array(links), overlap_threshold=0.4, min_cluster_size=3)
        array([0, 0, 0, 1, 1, 1])
    """
    probabilities = as_graph(probabilities, 'probabilities', 1.0)
    kept = probabilities.copy()
    kept.data = (probabilities.data > link_threshold).astype(np.int32)
    kept.eliminate_zeros()
    num_links = np.diff(kept.indptr)
    ends = []
    for start in range(0, kept.shape[0], _ROWS_PER_BLOCK):
        rows = kept[start : start + _ROWS_PER_BLOCK]
        common = (rows @ kept).multiply(rows).tocoo()
        i, j = common.row + start, common.col
        fewer = np.minimum(num_links[i], num_links[j])
        ends.append(np.stack([i, j])[:, (fewer > 0) & (common.data > overlap_threshold * fewer)])
    i, j = np.concatenate(ends, axis=1)
    no_distance = np.full(len(i), np.finfo(np.float32).tiny)
    links = sparse.csr_array((no_distance, (i, j)), shape=kept.shape)
    return ComponentClusterer(min_cluster_size=min_cluster_size)(links)
