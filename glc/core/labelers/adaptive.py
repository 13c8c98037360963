"""A labeler that takes the size of its neighborhoods from the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from torch import Tensor

from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.labelers.base import BaseLabeler
from glc.core.labels import with_singletons
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import CAMERAS, SEARCH, SEED, Rules
from glc.core.timing import Timings

LOOSEST = 0.75
"""Largest distance of :func:`consensus_distance`; the clusterer takes the smaller ones."""

_K1_PER_IMAGE = np.array([0.7, 1.2, 1.8, 2.6])
_K2_PER_K1 = 0.25
_SMALLEST = 3.0
_FIRST = 4.0
_STEP = 1.5**0.5
_ACROSS_CAMERAS = 1.5
_NO_RESPONSE = 0.3  # of the clusters to a step, 1 where they grow as much: such a size does not count
_FULL_RESPONSE = 0.5  # and such a one counts in full
_LEAST_WEIGHT = 0.02
_TEMPERATURE = 0.03  # a size around which full clusters grow by this much more counts 1 / e times as much
_FEWEST_PEOPLE = 8
_EXPECTED_SIZE = 24


@dataclass(frozen=True)
class Consensus:
    """What the features and cameras of a view say, without any labels.

    Args:
        sizes: Images per person that the neighborhoods were made for, round by round; the last one counts.
        labels: Labels (N,): -1 = outlier, others 0..C-1.
    """

    sizes: tuple[float, ...]
    labels: np.ndarray


class AdaptiveConsensus(BaseLabeler):
    """Multi-scale Jaccard communities whose neighborhoods follow the number of images per person.

    Neighborhoods that fit the images per person matter more than any cut. They grow from those for four images on, as
    long as the clusters fill them and grow with them. Among these sizes the one fits around which full clusters grow
    least: at smaller ones the pieces of a person still join, at larger ones people do. It is a mean over sizes, with
    weights that do not jump, so small changes of the features change little. Where clusters are of one camera each, one
    step more reaches beyond, since other cameras are farther away. The labeler assumes nothing about the data set: not
    how many images a person has, how good the features are, or how many images belong to nobody else.

    - Scales: k1 = 0.7, 1.2, 1.8 and 2.6 times the images per person, k2 = k1 / 4; the mean of the Jaccard distances,
      by plain and by camera-balanced neighbors.
    - Clusters: :class:`glc.core.clusterers.RelativeMapEquationClusterer`, of two images and more.

    Args:
        backend: See :mod:`glc.core.parameters`; a view has its own.
        use_cameras: See :mod:`glc.core.parameters`.
        seed: Seed of the order in which images move between communities.

    Attributes:
        labels_: Labels (N,) of the last ``fit``.
        sizes_: Images per person that the neighborhoods of the last call were made for, round by round.
        timings_: Seconds of the last call's stages, keys 'knn', 'jaccard' and 'cluster'.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> identity = np.repeat(np.arange(12), 15)
        >>> features = rng.normal(size=(12, 16))[identity] + 0.2 * rng.normal(size=(180, 16))
        >>> labels = AdaptiveConsensus()(features)
        >>> bool((labels == identity).all())
        True
    """

    _parameter_constraints: ClassVar[Rules] = {**SEARCH, **CAMERAS, **SEED}
    sizes_: tuple[float, ...]

    def __init__(self, backend: str = 'auto', use_cameras: bool = True, seed: int = 0) -> None:
        self.backend = backend
        self.use_cameras = use_cameras
        self.seed = seed

    @property
    def expected_k(self) -> int:
        """Neighbors that serve up to 24 images per person; more are searched where they are needed."""
        return scales_for(_EXPECTED_SIZE)[0][-1]

    def advice(self, num_clusters: int) -> str:
        """Say what a labeler without a cut can say."""
        return 'take features of a trained network, or a labeler with a cut'

    def _label(self, view: FeatureView[Any]) -> np.ndarray:
        view = view if self.use_cameras else view.without_cameras()
        found = consensus(view, self.seed, self.timings_)
        self.sizes_ = found.sizes
        return found.labels


def consensus(view: FeatureView[Any], seed: int = 0, timings: Timings | None = None) -> Consensus:
    """Find the neighborhoods that fit a view, and cluster it; once for a view, which keeps the result.

    Args:
        view: Features of N images, and their cameras.
        seed: Seed of the order in which images move between communities.
        timings: Gets the seconds of 'knn', 'jaccard' and 'cluster'.
    """
    return view.remember(
        ('consensus', seed), lambda: _consensus(view, seed, Timings() if timings is None else timings)
    )


def consensus_distance(view: FeatureView[Any], seed: int = 0) -> sparse.csr_array:
    """Compute the mean Jaccard distances (N, N) up to :data:`LOOSEST` in the neighborhoods of :func:`consensus`.

    Args:
        view: Features of N images, and their cameras; it keeps the result.
        seed: See :func:`consensus`.
    """
    return view.remember(
        ('consensus distance', seed),
        lambda: view.distance(*scales_for(consensus(view, seed).sizes[-1]), LOOSEST),
    )


def _consensus(view: FeatureView[Any], seed: int, timings: Timings) -> Consensus:
    @cache
    def labels_at(size: float) -> np.ndarray:
        return _cluster_at(view, size, seed, timings)

    sizes = _grow(labels_at, len(view) / _FEWEST_PEOPLE)
    if mostly_of_one_camera(labels_at(sizes[-1]), view.cam_ids):
        sizes.append(_ACROSS_CAMERAS * sizes[-1])
    return Consensus(tuple(sizes), labels_at(sizes[-1]))


def _grow(labels_at: Callable[[float], np.ndarray], limit: float) -> list[float]:
    """Return the sizes that were looked at, up to a limit; the last one fits."""

    def room_at(size: float) -> float:
        return room(labels_at(size), size)

    if room_at(_FIRST) < 0:
        share = filled_share(room_at(_SMALLEST), room_at(_FIRST))
        return [_FIRST, _SMALLEST, _SMALLEST * (_FIRST / _SMALLEST) ** share]
    sizes, weight, weights, growths = [_FIRST], 1.0, [], []
    while weight > _LEAST_WEIGHT and (size := sizes[-1]) < limit:
        following = min(_STEP * size, limit)
        growths.append(growth(labels_at(size), labels_at(following), at_least=size) / log(following / size))
        weights.append(0.0 if mostly_alone(labels_at(size)) else weight)
        weight *= filled_share(room_at(size), room_at(following)) if room_at(size) >= 0 else 0.0
        if len(sizes) > 1:  # over two steps: the neighborhoods are whole numbers, so one step is coarse
            response = growth(labels_at(sizes[-2]), labels_at(following)) / log(following / sizes[-2])
            weight *= min(max((response - _NO_RESPONSE) / (_FULL_RESPONSE - _NO_RESPONSE), 0.0), 1.0)
        sizes.append(following)
    if not any(weights):
        return sizes
    around = np.convolve([growths[0], *growths], [0.5, 0.5], 'valid')  # mean of the steps before and after
    counts = np.array(weights)
    counts *= np.exp((around[counts > 0].min() - around) / _TEMPERATURE)
    return [*sizes, float(np.exp(np.average(np.log(sizes[: len(counts)]), weights=counts)))]


def _cluster_at(view: FeatureView[Any], size: float, seed: int, timings: Timings) -> np.ndarray:
    """Labels (N,) with neighborhoods for so many images per person."""
    k1, k2 = scales_for(size)
    clusterer = RelativeMapEquationClusterer(seed=seed)
    with timings.stage('knn'):
        view.graphs(k1[-1])
    with timings.stage('jaccard'):
        distance = view.distance(k1, k2, clusterer.reach)
    with timings.stage('cluster'):
        return clusterer(distance)


def room(labels: np.ndarray, size: float) -> float:
    """Tell how many times the clusters fill neighborhoods for so many images per person: the logarithm of it.

    Where most images are alone there is room for a whole step.
    """
    return log(_STEP) if mostly_alone(labels) else log(usual_size(labels) / size)


def filled_share(before: float, after: float) -> float:
    """Return the part of a step up to the point where the clusters fill the neighborhoods, from the rooms at its ends.

    Example:
        >>> filled_share(0.1, -0.3), filled_share(0.1, 0.0)
        (0.25, 1.0)
    """
    return max(before, 0.0) / (max(before, 0.0) - after) if after < 0 else 1.0


def growth(labels: np.ndarray, found: np.ndarray, at_least: float = 1) -> float:
    """Return the mean logarithm of how many times the clusters of the images grow, from some labels (N,) to others.

    Only images count whose clusters have at least so many images before; 1 where there are none.
    """
    before, after = own_sizes(labels), own_sizes(found)
    counted = before >= at_least
    return float(np.log(after[counted] / before[counted]).mean()) if counted.any() else 1.0


def own_sizes(labels: np.ndarray) -> np.ndarray:
    """Return the size (N,) of every image's cluster, 1 for an outlier.

    Example:
        >>> own_sizes(np.array([0, 0, 1, -1])).tolist()
        [2, 2, 1, 1]
    """
    clusters = with_singletons(labels)
    return np.bincount(clusters)[clusters]


def usual_size(labels: np.ndarray) -> float:
    """Return the geometric mean of the sizes of the images' clusters, outliers aside; 1 without clusters.

    The mean of all clusters follows small pieces, and the mean over images a few giant clusters; this one neither.

    Example:
        >>> round(usual_size(np.array([0, 0, 1, 1, 1, 1, 1, 1, 1, 1, -1])), 9) == round((2**2 * 8**8) ** 0.1, 9)
        True
    """
    clustered = labels >= 0
    return float(np.exp(np.log(own_sizes(labels)[clustered]).mean())) if clustered.any() else 1.0


def mostly_alone(labels: np.ndarray) -> bool:
    """Tell whether most images are outliers."""
    return bool((labels < 0).mean() > 0.5)


def mostly_of_one_camera(labels: np.ndarray, cam_ids: Tensor | None) -> bool:
    """Tell whether most clustered images are in clusters of one camera; those of unknown cameras do not count.

    Example:
        >>> from torch import tensor
        >>> mostly_of_one_camera(np.array([0, 0, 0, 1, 1, -1]), tensor([2, 2, 2, 1, 2, 1]))
        True
    """
    if cam_ids is None:
        return False
    cameras = cam_ids.cpu().numpy()
    known = (labels >= 0) & (cameras >= 0)
    if not known.any():
        return False
    clustered, cameras = labels[known], cameras[known]
    cameras_of = np.bincount(np.unique(np.stack([clustered, cameras]), axis=1)[0])
    return bool((cameras_of[clustered] == 1).mean() > 0.5)


def scales_for(size: float) -> tuple[list[int], list[int]]:
    """Return k1 and k2 of every scale for so many images per person.

    Example:
        >>> scales_for(4)
        ([3, 5, 7, 10], [1, 1, 2, 3])
    """
    k1 = np.maximum(np.rint(_K1_PER_IMAGE * size), 3)
    k2 = np.clip(np.rint(_K2_PER_K1 * _K1_PER_IMAGE * size), 1, k1)
    return k1.astype(int).tolist(), k2.astype(int).tolist()
