"""Images that belong to nobody, but were clustered all the same."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glc.core.labels import UnusableLabelsError, compact_labels
from glc.core.neighbors.similarity import pair_similarities
from glc.core.neighbors.view import FeatureView
from glc.core.whitening import within_class_whitening

_SHRINKAGE = 0.1
_LARGEST = 0.999
_FEWEST = 50
_APART = 2.0
_AS_NEAR = 0.2
_FARTHER = 0.6
_IQR_OF_NORMAL = 1.349
_LEAST_SPREAD = 0.02
_FITTED_IMAGES = 20_000
_FIRST_NEIGHBORS = 8
_ROUNDS = 300
_SETTLED = 1e-5
_LEARNED_IMAGES = 100_000
_ROWS_PER_BLOCK = 2**13


def without_strangers(
    view: FeatureView[Any],
    labels: np.ndarray,
    k: int,
    min_size: int = 2,
    doubted: np.ndarray | None = None,
    cost: float = 1.5,
) -> np.ndarray:
    """Turn images into outliers whose nearest image is no nearer than images of other people are.

    Clusterings of a graph leave few images alone: an image of a person who has no other is linked to those that look
    most alike. But its most similar image looks like anybody else's, and that gives it away. The cosine similarity of
    every image to the most similar one of its cluster is compared with that to the most similar one of all other
    clusters, in the metric that one half of the clusters teaches
    (:func:`glc.core.whitening.within_class_whitening`), for the images of the other half: at home, a cluster looks
    tighter than it is. See :class:`Crowds` for what is too little.

    Args:
        view: Features of N images.
        labels: int64 labels (N,): -1 = outlier, others 0..C-1.
        k: Neighbors per image, itself included, that are looked at.
        min_size: Clusters of fewer images become outliers.
        doubted: Images, bool (N,), of which alone strangers are looked for; among them there may be more or fewer than
            among all. None: of all.
        cost: How many strangers must be found for every image that is lost.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1 without gaps.
    """
    clusters = torch.from_numpy(labels).to(view.device)
    try:
        nearest = _Nearest(view, clusters, k)
    except UnusableLabelsError:
        return compact_labels(labels, min_size)  # a handful of clusters, or copies of images only
    clustered = (labels >= 0).nonzero()[0]
    step = ceil(len(clustered) / _FITTED_IMAGES) or 1
    sample = clustered[::step]
    found, others = nearest(sample)
    known = ~np.isnan(found)
    crowds = Crowds.fitted(found[known], others[known])
    if crowds is None:
        return compact_labels(labels, min_size)
    rest = np.delete(clustered, np.s_[::step])
    if doubted is not None:
        known &= doubted[sample]
        crowds = crowds.among(found[known]) if known.any() else crowds
        rest = rest[doubted[rest]]
    threshold = crowds.threshold(found[known], cost)
    rest = rest[~(nearest(rest, _FIRST_NEIGHBORS)[0] > threshold)]  # most images need no more
    labels = labels.copy()
    labels[sample[known & (found <= threshold)]] = -1
    labels[rest[nearest(rest)[0] <= threshold]] = -1
    return compact_labels(labels, min_size)


@dataclass(frozen=True)
class Crowds:
    """Two crowds of images by their similarity to the most similar image of their cluster: strangers and members.

    Members have another image in the cluster. Similarities are Fisher's z, the inverse hyperbolic tangent of the cosine
    similarity: its distribution is nearly symmetric where that of the cosine similarity is not. Both crowds have normal
    distributions.

    Args:
        share: Share of strangers.
        strangers: Mean and standard deviation of their similarities.
        members: Mean and standard deviation of those of members.
    """

    share: float
    strangers: tuple[float, float]
    members: tuple[float, float]

    @classmethod
    def fitted(cls, own: np.ndarray, others: np.ndarray) -> Crowds | None:
        """Fit both crowds by expectation maximization.

        Strangers are tied to the similarities to other clusters: their median, and as standard deviation their
        interquartile range, 1.35 times that of a normal distribution. The images of others that look most alike are
        hidden in the own cluster, which makes it narrow. Two crowds that may move from there are taken instead if they
        explain more (by the Bayesian information criterion), come out clearly apart (Ashman et al., Detecting
        Bimodality in Astronomical Datasets, 1994: D > 2), and the lower one still looks like strangers: a fifth of the
        similarities to other clusters are no more than its standard deviation below its mean. Otherwise members may
        have been cut in two.

        Args:
            own: Similarities (M,) to the most similar image of the cluster.
            others: Similarities (M,) of the same images to the most similar one of other clusters, nan where there is
                none. Those of strangers do not count: they found their most similar image already.

        Returns:
            The crowds; None where less than 50 similarities of a kind are known, all are the same, or the lower crowd
            is far from all clusters: such images are members with much noise.
        """
        order = others.argsort()
        own, others = own[order], others[order]
        rising = others[: int(np.isfinite(others).sum())]
        if len(rising) < _FEWEST or own.std() == 0:
            return None
        free, tied = (cls._maximized(own, rising, tied) for tied in (False, True))
        member = 1 - free.probability(own[: len(rising)])
        as_near = np.average(rising >= free.strangers[0] - free.strangers[1], weights=member)
        explains_more = free.log_likelihood(own) - tied.log_likelihood(own) > log(
            len(own)
        )  # for two more numbers
        crowds = free if explains_more and free.distance > _APART and as_near >= _AS_NEAR else tied
        return crowds if crowds._see_others(own[: len(rising)], rising) else None

    @classmethod
    def _maximized(cls, own: np.ndarray, rising: np.ndarray, tied: bool) -> Crowds:
        """Fit them to similarities (M,), of which the first (K,) have one to other clusters; these rise."""
        middle, spread = _quartiles(rising, np.ones(len(rising)))
        members = float(np.quantile(own, 0.65)), 0.7 * float(own.std())
        crowds = cls(0.3, (middle, spread if tied else spread / _IQR_OF_NORMAL), members)
        for _ in range(_ROUNDS):
            before, stranger = crowds.share, crowds.probability(own)
            member = 1 - stranger
            strangers = _quartiles(rising, member[: len(rising)]) if tied else _moments(own, stranger)
            crowds = cls(float(stranger.mean()), strangers, _moments(own, member))
            if abs(crowds.share - before) < _SETTLED:
                break
        return crowds

    def _see_others(self, own: np.ndarray, rising: np.ndarray) -> bool:
        """Whether strangers are about as similar to other clusters as members are."""
        stranger = self.probability(own)
        usual, spread = _quartiles(rising, 1 - stranger)
        return _quartiles(rising, stranger)[0] >= usual - _FARTHER * spread

    @property
    def distance(self) -> float:
        """How far members are above strangers: difference of the means over the mean standard deviation."""
        (low, spread), (high, other_spread) = self.strangers, self.members
        return (high - low) / ((spread**2 + other_spread**2) / 2) ** 0.5

    def among(self, own: np.ndarray) -> Crowds:
        """Return the crowds with the share of strangers among other images, of similarities (M,)."""
        share = 0.5
        for _ in range(_ROUNDS):
            share = float(Crowds(share, self.strangers, self.members).probability(own).mean())
        return Crowds(share, self.strangers, self.members)

    def probability(self, own: np.ndarray) -> np.ndarray:
        """Return how probably images of these similarities (M,) are strangers."""
        return 1 / (1 + np.exp(-np.clip(self._log_odds(own), -50, 50)))

    def log_likelihood(self, own: np.ndarray) -> float:
        """Return the log likelihood of similarities (M,)."""
        members = log(1 - self._share) + _log_density(own, *self.members)
        return float(np.logaddexp(members, members + self._log_odds(own)).sum())

    def threshold(self, own: np.ndarray, cost: float) -> float:
        """Return the largest of some similarities (M,) that rather is a stranger's; minus infinity where none is.

        Args:
            own: The similarities. Those above the mean of members do not count.
            cost: How many strangers must be found for every member that is lost.
        """
        strangers = own[(own < self.members[0]) & (self._log_odds(own) > log(cost))]
        return float(strangers.max()) if len(strangers) and self.strangers[0] < self.members[0] else -np.inf

    def _log_odds(self, own: np.ndarray) -> np.ndarray:
        odds = log(self._share / (1 - self._share))
        return odds + _log_density(own, *self.strangers) - _log_density(own, *self.members)

    @property
    def _share(self) -> float:
        return min(max(self.share, 1e-12), 1 - 1e-12)


def _log_density(x: np.ndarray, mean: float, spread: float) -> np.ndarray:
    """Log density of the normal distribution."""
    spread = max(spread, _LEAST_SPREAD)
    return -0.5 * ((x - mean) / spread) ** 2 - log(spread) - 0.5 * log(2 * pi)


def _moments(x: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the mean and the standard deviation of weighted numbers (M,)."""
    mean = np.average(x, weights=weights)
    return float(mean), max(float(np.average((x - mean) ** 2, weights=weights)) ** 0.5, _LEAST_SPREAD)


def _quartiles(rising: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the median and the interquartile range of weighted numbers (K,), which rise."""
    shares = weights.cumsum() / weights.sum()
    first, middle, third = rising[np.searchsorted(shares, [0.25, 0.5, 0.75])]
    return float(middle), float(third - first)


class _Nearest:
    """How similar images are to the most similar one of their cluster, and of other ones, as Fisher's z.

    Only neighbors in the features as they are, are looked at. Clusters with even numbers are one half, those with odd
    numbers the other; each is judged in the metric that the other teaches.

    Args:
        view: Features of N images.
        clusters: Labels (N,).
        k: Neighbors per image, itself included.

    Raises:
        UnusableLabelsError: Half of the clusters do not teach a metric.
    """

    def __init__(self, view: FeatureView[Any], clusters: Tensor, k: int) -> None:
        self._features, self._clusters = view.centered, clusters
        self._metrics = [
            _learned((clusters % 2 != half) & (clusters >= 0), clusters, view) for half in (0, 1)
        ]
        self._neighbors = view.neighbors(k).indices[:, 1:]
        self._mean = self._features.mean(0)

    def __call__(self, images: np.ndarray, k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return both similarities (M,) of some images (M,), by all neighbors or the first ``k`` others.

        They are nan where none of these is in such a cluster.
        """
        found = torch.full((2, len(images)), torch.nan, device=self._features.device)
        chosen = torch.from_numpy(images).to(found.device)
        for half in (0, 1):
            judged = (self._clusters[chosen] % 2 == half).nonzero().squeeze(1)
            lengths = self._lengths(half, chosen[judged], k)
            for rows in judged.split(_ROWS_PER_BLOCK):
                found[:, rows] = self._block(half, lengths, chosen[rows], k)
        own, other = found.double().clamp(-_LARGEST, _LARGEST).atanh().cpu().numpy()
        return own, other

    def _lengths(self, half: int, images: Tensor, k: int | None) -> Tensor:
        """Lengths (N,) of some images and of their neighbors, in the metric for a half; nan for all others."""
        needed = torch.zeros_like(self._clusters, dtype=torch.bool)
        needed[images] = True
        needed[self._neighbors[images, :k]] = True
        lengths = self._features.new_full((len(needed),), torch.nan)
        for rows in needed.nonzero().squeeze(1).split(_ROWS_PER_BLOCK):
            lengths[rows] = ((self._features[rows] - self._mean) @ self._metrics[half]).norm(dim=1)
        return lengths

    def _block(self, half: int, lengths: Tensor, images: Tensor, k: int | None) -> Tensor:
        metric = self._metrics[half]
        near = self._neighbors[images, :k]
        seen = (self._features[images] - self._mean) @ metric @ metric
        row = torch.arange(len(images), device=images.device).repeat_interleave(near.shape[1])
        products = pair_similarities(seen, row, near.flatten(), self._features).view(near.shape)
        similarities = products - (seen @ self._mean)[:, None]
        similarities /= (lengths[near] * lengths[images][:, None]).clamp(min=1e-12)
        mates = self._clusters[near] == self._clusters[images][:, None]
        others = ~mates & (self._clusters[near] >= 0)
        largest = torch.stack(
            [similarities.masked_fill(~kind, -torch.inf).amax(1) for kind in (mates, others)]
        )
        return largest.masked_fill(largest.isinf(), torch.nan)


def _learned(images: Tensor, clusters: Tensor, view: FeatureView[Any]) -> Tensor:
    """Learn a metric (D, D) from some images (bool, (N,)), of a part of their clusters if there are many."""
    step = ceil(int(images.sum()) / _LEARNED_IMAGES)
    if step > 1:
        images = images & (clusters // 2 % step == 0)
    return within_class_whitening(view.centered[images], compact_labels(clusters[images]), _SHRINKAGE)
