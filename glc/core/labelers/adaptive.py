"""A labeler that takes the size of its neighborhoods from the data."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from torch import Tensor

from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.labelers.base import BaseLabeler
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import CAMERAS, SEARCH, SEED, Rules
from glc.core.timing import Timings

LOOSEST = 0.75
"""Largest distance of :func:`consensus_distance`; the clusterer takes the smaller ones."""

_K1_PER_IMAGE = np.array([0.7, 1.2, 1.8, 2.6])
_K2_PER_K1 = 0.25
_SMALLEST = 3.0
_FIRST = 4.0
_PER_MEAN = 1.2
_LARGEST_STEP = 1.5
_SMALLEST_STEP = 1.04
_LEAST_RESPONSE = 0.2
_STRONG_RESPONSE = 0.7
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

    Neighborhoods that fit the images per person matter more than any cut. Neighborhoods start with those for four
    images, three where these are too many. They grow as long as most images are alone or the clusters grow with them:
    up to 1.2 times the mean size of the clusters, which follows many small pieces, or the size of the median image's
    cluster, which no few giant clusters raise, whichever is smaller. A step to which the clusters hardly respond is
    undone. Where many small pieces end the growth, one step beyond is tried. It counts where the clusters grow nearly
    as much, and the median one to its size. Where clusters are of one camera each, a last step reaches beyond, since
    other cameras are farther away. The labeler assumes nothing about the data set: not how many images a person has,
    how good the features are, or how many images belong to nobody else.

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
    sizes = [_FIRST]
    labels = _cluster_at(view, _FIRST, seed, timings)
    if typical_size(labels) < _FIRST and not mostly_alone(labels):
        return Consensus((_FIRST, _SMALLEST), _cluster_at(view, _SMALLEST, seed, timings))
    while (size := sizes[-1]) < len(view) / _FEWEST_PEOPLE:
        mean, typical, largest = mean_size(labels), typical_size(labels), _LARGEST_STEP * size
        fitting = largest if mostly_alone(labels) else min(_PER_MEAN * mean, typical, largest)
        fits = fitting < _SMALLEST_STEP * size
        many_pieces = _PER_MEAN * mean <= typical
        one_camera = fits and mostly_of_one_camera(labels, view.cam_ids)
        if fits and not (many_pieces or one_camera):
            break
        following = min(largest if fits else fitting, len(view) / _FEWEST_PEOPLE)
        found = _cluster_at(view, following, seed, timings)
        response = log(mean_size(found) / mean) / log(following / size)
        joins_pieces = many_pieces and response >= _STRONG_RESPONSE and typical_size(found) >= following
        if response < _LEAST_RESPONSE or (fits and not (joins_pieces or one_camera)):
            return Consensus((*sizes, following, size), labels)
        sizes.append(following)
        labels = found
        if fits and not joins_pieces:
            break
    return Consensus(tuple(sizes), labels)


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


def mean_size(labels: np.ndarray) -> float:
    """Return the mean size of the clusters, 1 without clusters.

    Example:
        >>> mean_size(np.array([0, 0, 1, 1, 1, 1, -1]))
        3.0
    """
    return float((labels >= 0).sum() / (labels.max() + 1)) if labels.max() >= 0 else 1.0


def typical_size(labels: np.ndarray) -> float:
    """Return the size of the cluster of the median image, outliers aside; 1 without clusters.

    Example:
        >>> typical_size(np.array([0, 0, 1, 1, 1, 1, -1]))
        4.0
    """
    clustered = labels[labels >= 0]
    return float(np.median(np.bincount(clustered)[clustered])) if len(clustered) else 1.0


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
