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
_WEIGHT = 0.5
_FARTHEST = 7
_SAME_PERSON = 0.1
_LEAST_SHARE = 0.2
_FEWEST = 50
_LEARNED_IMAGES = 100_000
_ROWS_PER_BLOCK = 2**9  # up to 62 products of 512 channels for each: 64 MiB of float32


def without_strangers(
    view: FeatureView[Any],
    labels: np.ndarray,
    k: int,
    min_size: int = 2,
    doubted: np.ndarray | None = None,
    nearest: int = 4,
    cost: float = 2.0,
) -> np.ndarray:
    """Turn images into outliers that are no nearer to their cluster than images are to other people.

    Clusterings of a graph leave few images alone: an image of a person who has no other is linked to those that look
    most alike. It is about as similar to them as to the next clusters, and that gives it away. With s_r, the mean
    cosine similarity of an image to the r-th nearest other cluster, its similarity to its own cluster, less s_r / 2, is
    compared with s_r - s_2r / 2 of all images. Both are measured in the metric that one half of the clusters teaches
    (:func:`glc.core.whitening.within_class_whitening`), for the images of the other half: at home, a cluster looks
    tighter than it is. The nearest clusters may be pieces of the same person; see :func:`rank_of_others` for r, and
    :func:`stranger_threshold` for what is too little.

    Args:
        view: Features of N images.
        labels: int64 labels (N,): -1 = outlier, others 0..C-1.
        k: Neighbors per image, itself included, whose clusters are the other ones.
        min_size: Clusters of fewer images become outliers.
        doubted: Images, bool (N,), of which alone strangers are looked for. None: of all.
        nearest: See :func:`rank_of_others`.
        cost: See :func:`stranger_threshold`.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.
    """
    clusters = torch.from_numpy(labels).to(view.device)
    own = torch.full(clusters.shape, torch.nan, device=view.device)
    others = torch.full((len(clusters), 2 * _FARTHEST), torch.nan, device=view.device)
    for half in (0, 1):
        judged = ((clusters >= 0) & (clusters % 2 == half)).nonzero().squeeze(1)
        try:
            metric = _learned((clusters % 2 != half) & (clusters >= 0), clusters, view)
        except UnusableLabelsError:
            return compact_labels(labels, min_size)  # a handful of clusters, or copies of images only
        own[judged], others[judged] = _similarities(view, clusters, judged, k, metric)
    clustered = clusters >= 0
    rank = rank_of_others(own[clustered], others[clustered], nearest)
    least = others.masked_fill(others.isinf(), torch.inf).amin(dim=1)
    least = least.masked_fill(least.isinf(), 0)

    def ranked(rank: int) -> Tensor:  # the last one, where fewer clusters are near
        return others[:, rank - 1].where(others[:, rank - 1].isfinite(), least)

    found = (own - _WEIGHT * ranked(rank)).cpu().numpy()
    compared = (others[:, rank - 1] - _WEIGHT * ranked(2 * rank)).cpu().numpy()
    if doubted is not None:
        found[~doubted] = np.nan
    threshold = stranger_threshold(found[~np.isnan(found)], compared[np.isfinite(compared)], cost)
    return compact_labels(np.where(found < threshold, -1, labels), min_size)


def rank_of_others(own: Tensor, others: Tensor, nearest: int) -> int:
    """Return the rank of the nearest clusters that are of other people.

    The nearer ones may be pieces of the same person. Then images that are as similar to their own cluster as the median
    image or more are often as similar to such a piece, too. From the rank on that is returned, less than 0.1 of them
    are.

    Args:
        own: Similarities (N,) of images to their own clusters.
        others: Similarities (N, R) to the nearest other clusters, falling; minus infinity where fewer are near.
        nearest: The least rank, 1 = the nearest cluster. The largest one is 7.
    """
    usual = own.nanmedian()
    as_near = (others[own >= usual] >= usual).double().mean(dim=0).cpu().numpy()
    return next((r for r in range(nearest, _FARTHEST) if as_near[r - 1] < _SAME_PERSON), _FARTHEST)


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


def _similarities(
    view: FeatureView[Any], clusters: Tensor, judged: Tensor, k: int, metric: Tensor
) -> tuple[Tensor, Tensor]:
    """Return how similar images (M,) are to their clusters, (M,), and to the nearest other ones, (M, 2 * _FARTHEST)."""
    mean, features = view.centered.mean(0), view.centered
    neighbors = view.neighbors(k).indices

    def seen(images: Tensor) -> Tensor:
        return torch.nn.functional.normalize((features[images] - mean) @ metric)

    counts = clusters[clusters >= 0].bincount()
    sums = torch.zeros(len(counts), features.shape[1], dtype=torch.float64, device=clusters.device)
    for images in (clusters >= 0).nonzero().squeeze(1).split(_ROWS_PER_BLOCK):
        # In float64, so that the order leaves no trace.
        sums.index_add_(0, clusters[images], seen(images).double())
    means = (sums / counts[:, None]).float()

    own, others = [], []
    for images in judged.split(_ROWS_PER_BLOCK):
        x, cluster = seen(images), clusters[images]
        own.append(((means[cluster] * x).sum(1) * counts[cluster] - (x * x).sum(1)) / (counts[cluster] - 1))
        near = clusters[neighbors[images, 1:]].sort(dim=1).values
        wanted = (near >= 0) & (near != cluster[:, None])
        wanted[:, 1:] &= near[:, 1:] != near[:, :-1]
        similarity = x.new_full((len(images), max(near.shape[1], 2 * _FARTHEST)), -torch.inf)
        rows, columns = wanted.nonzero(as_tuple=True)
        similarity[rows, columns] = (x[rows] * means[near[rows, columns]]).sum(1)
        others.append(similarity.topk(2 * _FARTHEST, dim=1).values)
    return torch.cat(own), torch.cat(others)
