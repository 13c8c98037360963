"""Images that belong to nobody, but were clustered all the same."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glc.core.labels import UnusableLabelsError, compact_labels
from glc.core.neighbors.view import FeatureView
from glc.core.whitening import within_class_whitening

_SHRINKAGE = 0.1
_RANK, _COST = 4, 2.0  # nearer clusters may be pieces of the same person
_RANK_IF_DOUBTED, _COST_IF_DOUBTED = 2, 1.0
_LEAST_SHARE = 0.2
_FEWEST = 50
_COMPARED_IMAGES = 2_500
_LEARNED_IMAGES = 100_000
_ROWS_PER_BLOCK = 2**12
_COMPARED_PER_BLOCK = 2**7  # 12 MiB of float32 at 384 channels and 63 neighbors


def without_strangers(
    view: FeatureView[Any],
    labels: np.ndarray,
    k: int,
    min_size: int = 2,
    doubted: np.ndarray | None = None,
) -> np.ndarray:
    """Turn images into outliers that are no nearer to their cluster than images are to other people.

    Clusterings of a graph leave few images alone: an image of a person who has no other is linked to those that look
    most alike. Its mean cosine similarity to the other images of its cluster gives it away. It is compared with that
    of clustered images to clusters of other people. Both are measured in the metric that one half of the clusters
    teaches (:func:`glc.core.whitening.within_class_whitening`), for the images of the other half: at home, a cluster
    looks tighter than it is.
    See :func:`stranger_threshold`.

    Args:
        view: Features of N images.
        labels: int64 labels (N,): -1 = outlier, others 0..C-1.
        k: Neighbors per image, itself included, whose clusters are the other ones.
        min_size: Clusters of fewer images become outliers.
        doubted: Images, bool (N,), that other labels leave alone; only they are judged then, among themselves, and less
            speaks against it. None: all are judged.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.
    """
    rank, cost = (_RANK, _COST) if doubted is None else (_RANK_IF_DOUBTED, _COST_IF_DOUBTED)
    clusters = torch.from_numpy(labels).to(view.device)
    own = torch.full(clusters.shape, torch.nan, device=view.device)
    others = []
    for half in (0, 1):
        judged = ((clusters >= 0) & (clusters % 2 == half)).nonzero().squeeze(1)
        try:
            metric = _learned((clusters % 2 != half) & (clusters >= 0), clusters, view)
        except UnusableLabelsError:
            return compact_labels(labels, min_size)  # a handful of clusters, or copies of images only
        own[judged], found = _compare(view, clusters, judged, k, rank, metric)
        others.append(found)
    similarity = own.cpu().numpy()
    if doubted is not None:
        similarity[~doubted] = np.nan
    threshold = stranger_threshold(similarity[~np.isnan(similarity)], torch.cat(others).cpu().numpy(), cost)
    return compact_labels(np.where(similarity < threshold, -1, labels), min_size)


def stranger_threshold(own: np.ndarray, others: np.ndarray, cost: float) -> float:
    """Return the similarity below which most images in a cluster are strangers there.

    With F and G, the shares of ``others`` and of ``own`` up to a threshold, the share p of strangers is at most G / F
    at every threshold; it is estimated as the least one where F is at least 0.2. Up to a threshold, p F strangers are
    found, and G - p F images are lost. The threshold is that at which p F - cost (G - p F) is largest.

    Args:
        own: Similarities (M,) of images to their own clusters.
        others: Similarities (K,) of images to clusters of other people.
        cost: How many strangers must be found for every image that is lost.

    Returns:
        The threshold; minus infinity where there are no strangers, or less than 50 similarities of a kind.

    Example:
        >>> stranger_threshold(np.linspace(0.5, 1, 100), np.linspace(-0.3, 0.2, 100), cost=2)
        -inf
        >>> mixed = np.concatenate([np.linspace(0.5, 1, 100), np.linspace(-0.3, 0.2, 50)])
        >>> 0.1 < stranger_threshold(mixed, np.linspace(-0.3, 0.2, 100), cost=2) < 0.5
        True
    """
    if min(len(own), len(others)) < _FEWEST:
        return -np.inf
    thresholds = np.sort(others)
    of_others = np.arange(1, len(others) + 1) / len(others)
    of_own = np.searchsorted(np.sort(own), thresholds, side='right') / len(own)
    share = (of_own / of_others)[of_others >= _LEAST_SHARE].min()
    benefit = share * of_others - cost * (of_own - share * of_others)
    best = benefit.argmax()
    return float(thresholds[best]) if benefit[best] > 0 else -np.inf


def _learned(images: Tensor, clusters: Tensor, view: FeatureView[Any]) -> Tensor:
    """Learn a metric (D, D) from some images (bool, (N,)), of a part of their clusters if there are many."""
    step = ceil(int(images.sum()) / _LEARNED_IMAGES)
    if step > 1:
        images = images & (clusters // 2 % step == 0)
    return within_class_whitening(view.centered[images], compact_labels(clusters[images]), _SHRINKAGE)


def _compare(
    view: FeatureView[Any], clusters: Tensor, judged: Tensor, k: int, rank: int, metric: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how similar images (M,) are to their clusters, (M,), and some of them to others of that rank, (K,)."""
    mean, features = view.centered.mean(0), view.centered

    def seen(images: Tensor) -> Tensor:
        return torch.nn.functional.normalize((features[images] - mean) @ metric)

    compared = judged[:: max(1, ceil(len(judged) / _COMPARED_IMAGES))]
    near = clusters[view.neighbors(k).indices[compared, 1:]]
    wanted = torch.zeros(int(clusters.max()) + 1, dtype=torch.bool, device=clusters.device)
    wanted[clusters[judged]] = True
    wanted[near[near >= 0]] = True
    members = ((clusters >= 0) & wanted[clusters]).nonzero().squeeze(1)
    sums = torch.zeros(len(wanted), features.shape[1], dtype=torch.float64, device=clusters.device)
    for images in members.split(_ROWS_PER_BLOCK):  # in float64, so that the order leaves no trace
        sums.index_add_(0, clusters[images], seen(images).double())
    sums = sums.float()
    counts = clusters[clusters >= 0].bincount()

    own = []
    for images in judged.split(_ROWS_PER_BLOCK):
        x, cluster = seen(images), clusters[images]
        own.append(((sums[cluster] * x).sum(1) - (x * x).sum(1)) / (counts[cluster] - 1))
    others = []
    for images, names in zip(
        compared.split(_COMPARED_PER_BLOCK), near.split(_COMPARED_PER_BLOCK), strict=True
    ):
        names = names.sort(dim=1).values
        known = (names >= 0) & (names != clusters[images, None])
        known[:, 1:] &= names[:, 1:] != names[:, :-1]
        names = names.clamp(min=0)
        similarity = torch.einsum('nd,nkd->nk', seen(images), sums[names]) / counts[names]
        ranked = similarity.masked_fill(~known, -torch.inf).sort(dim=1, descending=True).values
        others.append(ranked[:, rank - 1 : rank].flatten())
    found = torch.cat(others)
    return torch.cat(own), found[found.isfinite()]
