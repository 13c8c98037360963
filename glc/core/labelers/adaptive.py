"""A labeler that takes the size of its neighborhoods from the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import log
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.labelers.base import BaseLabeler
from glc.core.labelers.strangers import without_strangers
from glc.core.labels import with_singletons
from glc.core.neighbors.approximate import whole_regions
from glc.core.neighbors.knn import KNNGraph
from glc.core.neighbors.view import FeatureView
from glc.core.parameters import CAMERAS, NOT_NEGATIVE, POSITIVE, SEARCH, SEED, SHARE, CheckedFields, Rules
from glc.core.timing import Timings

Images: TypeAlias = np.ndarray | slice
EVERYONE: Images = slice(None)

LOOSEST = 0.75
"""Largest distance of :func:`consensus_distance`; the clusterer takes the smaller ones."""

_K1_PER_IMAGE = np.array([0.7, 1.2, 1.8, 2.6])
_K2_PER_K1 = 0.25
_SPREAD = (np.arange(4) - 1.5) / 4
_FIRST = 8 / 3
_STEP = 1.5**0.5
_FEWEST_STEPS = 4
_MIXED = 0.4
_LEAST_WEIGHT = 0.02
_FEWEST_PEOPLE = 8
_FOR_FEW = 4.0
_MANY_IMAGES = 200_000
_JUDGED_IMAGES = 20_000
_EXPECTED_SIZE = 24


@dataclass(frozen=True)
class Growth(CheckedFields):
    """How far neighborhoods grow, in images per person that they are made for.

    A step counts by how much full clusters respond to it (:func:`response`), smoothed over the steps before and after:
    neighborhoods are whole numbers, so a single step is coarse. The weight of a step is the product over it and all
    before, so the first step without a response is the last one that matters.

    Args:
        no_response: A step with so little response does not count.
        full_response: A step with so much response counts in full.
        smoothing: Share of the steps before and after in the response of a step, in [0, 1].
        first_margin: The first step is judged by the two after it, too, less so much per step: at the smallest size few
            clusters are full.
        few_alone: Share of images that are alone with the first neighborhoods up to which people are whole already, so
            that nothing grows. Of larger people more stay alone: which neighbors are mutual is a lottery within a
            person.
        many_alone: Such a share from which on neighborhoods grow in full.
        start: Factor on the first neighborhoods even where no step counts.
        beyond: Power of the steps: the response ends before the neighborhoods fit, the earlier the fewer images a
            person has.
        one_camera: Share of images in clusters of one camera above which neighborhoods grow beyond. Other cameras are
            farther away.
        across_cameras: The factor, where all clusters are of one camera.
        few_mixed: Share of images that are mixed with others (:func:`neighbor_purity` below 0.4) up to which clusters
            are no random pieces, with neighborhoods of the first steps. Many images of a person may differ in nothing
            but noise; small neighborhoods cut them anywhere.
        few_rise: A step does not count for it where so small a share of images is much purer (by 0.4) with larger
            neighborhoods.
        many_rise: Such a share from which on it counts in full, whatever its response.
        farthest: Images per person up to which that is looked for.

    Raises:
        ValueError: A number is out of range.
    """

    _parameter_constraints: ClassVar[Rules] = {
        'no_response': SHARE,
        'full_response': SHARE,
        'smoothing': SHARE,
        'first_margin': NOT_NEGATIVE,
        'few_alone': SHARE,
        'many_alone': SHARE,
        'start': POSITIVE,
        'beyond': POSITIVE,
        'one_camera': SHARE,
        'across_cameras': POSITIVE,
        'few_mixed': SHARE,
        'few_rise': SHARE,
        'many_rise': SHARE,
        'farthest': POSITIVE,
    }

    no_response: float = 0.4
    full_response: float = 0.55
    smoothing: float = 0.5
    first_margin: float = 0.15
    few_alone: float = 0.03
    many_alone: float = 0.1
    start: float = 1.2
    beyond: float = 1.27
    one_camera: float = 0.8
    across_cameras: float = 2.0
    few_mixed: float = 0.15
    few_rise: float = 0.1
    many_rise: float = 0.2
    farthest: float = 48.0

    def sizes(
        self,
        labels_at: Callable[[float], np.ndarray],
        purity_at: Callable[[float], np.ndarray],
        limit: float,
        judged: Images = EVERYONE,
    ) -> list[float]:
        """Return the sizes that were looked at; the last one fits.

        Args:
            labels_at: Returns the labels (N,) with neighborhoods for so many images per person.
            purity_at: Returns the :func:`neighbor_purity` (N,) of these labels.
            limit: Largest size.
            judged: Images that count, bool (N,) or a slice.
        """
        random = self._random_steps(labels_at, purity_at, limit, judged)
        sizes, weights = [_FIRST], np.ones((2, 0))
        responses = np.ones(0)
        while (len(responses) < _FEWEST_STEPS or weights[:, -2].max() > _LEAST_WEIGHT) and sizes[-1] < limit:
            sizes.append(_STEP * sizes[-1])
            grown = response(labels_at(sizes[-2]), labels_at(sizes[-1]), sizes[-2], sizes[-1], judged)
            responses = np.append(responses, grown)
            cut = np.append(random, np.zeros(len(responses)))[: len(responses)]
            weights = np.stack([self._weights(responses), self._weights(cut + (1 - cut) * responses)])
        alone = float((labels_at(_FIRST)[judged] < 0).mean())
        larger = np.interp(alone, [self.few_alone, self.many_alone], [0, 1])
        steps = self.beyond * weights.sum(axis=1)
        steps[1] -= (self.beyond - 1) * min(random.sum(), weights[1].sum())  # random ones fit without a power
        grown = self.start * _STEP ** steps.max()
        return [*sizes, min(_FIRST * float(grown**larger), limit)]

    def _weights(self, responses: np.ndarray) -> np.ndarray:
        """Return how much every step (S,) counts."""
        sides = [self.smoothing / 2, 1 - self.smoothing, self.smoothing / 2]
        margins = self.first_margin * np.arange(3)
        smooth = np.convolve(np.pad(responses, 1, 'edge'), sides, 'valid')
        smooth[0] = (smooth[:3] - margins[: len(smooth)]).max()
        return np.cumprod(np.interp(smooth, [self.no_response, self.full_response], [0, 1]))

    def _random_steps(
        self,
        labels_at: Callable[[float], np.ndarray],
        purity_at: Callable[[float], np.ndarray],
        limit: float,
        judged: Images,
    ) -> np.ndarray:
        """Return how much each of the first steps counts because clusters are random pieces there, falling (S,)."""
        purities: list[np.ndarray] = []
        size, mixed = _FIRST, 0.0
        while size < min(limit, self.farthest) and own_sizes(labels_at(size))[judged].mean() <= limit:
            purities.append(purity_at(size)[judged])
            clustered = ~np.isnan(purities[-1])
            now = float((purities[-1] < _MIXED).sum() / max(clustered.sum(), 1))
            mixed = max(mixed, now)
            if len(purities) > _FEWEST_STEPS and (mixed <= self.few_mixed or now == 0):
                break
            size *= _STEP
        if mixed <= self.few_mixed:
            return np.zeros(0)
        rises = [
            max(((later - pure) > _MIXED).mean() for later in purities[step + 1 :])
            for step, pure in enumerate(purities[:-1])
        ]
        counts = np.interp(rises, [self.few_rise, self.many_rise], [0, 1])
        return np.maximum.accumulate(counts[::-1])[::-1]

    def across(self, share: float) -> float:
        """Return the factor for such a share of images in clusters of one camera."""
        return float(self.across_cameras ** np.interp(share, [self.one_camera, 1], [0, 1]))


GROWTH = Growth()
"""The numbers that :class:`AdaptiveConsensus` takes; ``tools/benchmarks/bench_neighborhoods.py`` compares others."""


@dataclass(frozen=True)
class Consensus:
    """What the features and cameras of a view say, without any labels.

    Args:
        sizes: Images per person that the neighborhoods were made for, round by round; the last one counts.
        labels: Labels (N,): -1 = outlier, others 0..C-1.
        strangers: Images, bool (N,), that were clustered, but belong to nobody: outliers among the labels.
    """

    sizes: tuple[float, ...]
    labels: np.ndarray
    strangers: np.ndarray


class AdaptiveConsensus(BaseLabeler):
    """Multi-scale Jaccard communities whose neighborhoods follow the number of images per person.

    Neighborhoods that fit the images per person matter more than any cut. They grow step by step, as long as the full
    clusters, of at least as many images as they are meant for, grow with them: so long the pieces of a person join.
    Where full clusters hardly respond, people are whole, and larger neighborhoods would only join different ones. A
    step counts by how much they respond, which does not jump, so small changes of the features change little. Where
    nearly all clusters are of one camera, larger neighborhoods reach beyond, since other cameras are farther away.
    Where many images of a person differ in nothing but noise, small neighborhoods cut them at random; they grow to
    where the neighbors of most images are in their clusters. In the end the ``reach`` of the view multiplies them.
    The labeler assumes nothing about the data set: not how many images a person has, how good the features are, or how
    many images belong to nobody else. Of more than 200,000 images, some 20,000 in whole regions of the feature space
    decide on the size of the neighborhoods
    (:func:`glc.core.neighbors.approximate.whole_regions`), and all are then clustered once.

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


def consensus(
    view: FeatureView[Any], seed: int = 0, timings: Timings | None = None, rule: Growth = GROWTH
) -> Consensus:
    """Find the neighborhoods that fit a view, and cluster it; once for a view, which keeps the result.

    Args:
        view: Features of N images, and their cameras.
        seed: Seed of the order in which images move between communities.
        timings: Gets the seconds of 'knn', 'jaccard' and 'cluster'.
        rule: How far neighborhoods grow.
    """
    timings = Timings() if timings is None else timings
    return view.remember(('consensus', seed, rule), lambda: _consensus(view, seed, timings, rule))


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


def _consensus(view: FeatureView[Any], seed: int, timings: Timings, rule: Growth) -> Consensus:
    if len(view) <= _MANY_IMAGES:
        sizes, labels_at = _fitting(view, seed, timings, rule)
        return _without_strangers(view, sizes, labels_at(sizes[-1]), timings)
    with timings.stage('knn'):
        images, within = whole_regions(view.centered, _JUDGED_IMAGES)
    sizes = _fitting(view.of_images(images), seed, timings, rule, within.cpu().numpy())[0]
    view.expect(scales_for(sizes[-1])[0][-1])  # now it is known: a wider search of so many images takes long
    view.release(centered=False)
    return _without_strangers(view, sizes, labels_for(view, sizes[-1], seed, timings), timings)


def _without_strangers(
    view: FeatureView[Any], sizes: tuple[float, ...], labels: np.ndarray, timings: Timings
) -> Consensus:
    with timings.stage('cluster'):
        kept = put_strangers_out(view, labels, sizes[-1])
    return Consensus(sizes, kept, (kept < 0) & (labels >= 0))


def _fitting(
    view: FeatureView[Any], seed: int, timings: Timings, rule: Growth, judged: Images = EVERYONE
) -> tuple[tuple[float, ...], Callable[[float], np.ndarray]]:
    """Find the sizes of :func:`consensus` by the ``judged`` images; return them and what labels with a size."""

    @cache
    def labels_at(size: float) -> np.ndarray:
        return labels_for(view, size, seed, timings)

    def purity_at(size: float) -> np.ndarray:
        return neighbor_purity(labels_at(size), view.neighbors(scales_for(size)[0][-1]))

    limit = len(view) / _FEWEST_PEOPLE
    sizes = rule.sizes(labels_at, purity_at, limit, judged) if limit > _FOR_FEW else [_FOR_FEW]
    cameras = None if view.cam_ids is None else view.cam_ids.cpu()[judged]
    factor = view.reach * rule.across(one_camera_share(labels_at(sizes[-1])[judged], cameras))
    if factor != 1:
        sizes.append(factor * sizes[-1])
    return tuple(sizes), labels_at


def labels_for(
    view: FeatureView[Any], size: float, seed: int = 0, timings: Timings | None = None
) -> np.ndarray:
    """Label with neighborhoods for so many images per person.

    Args:
        view: Features of N images, and their cameras.
        size: Images per person.
        seed: Seed of the order in which images move between communities.
        timings: Gets the seconds of 'knn', 'jaccard' and 'cluster'.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1.
    """
    timings = Timings() if timings is None else timings
    k1, k2 = scales_for(size)
    clusterer = RelativeMapEquationClusterer(seed=seed)
    with timings.stage('knn'):
        view.graphs(k1[-1])
    with timings.stage('jaccard'):
        distance = view.distance(k1, k2, clusterer.reach)
    with timings.stage('cluster'):
        return clusterer(distance)


def put_strangers_out(view: FeatureView[Any], labels: np.ndarray, size: float, **judged: Any) -> np.ndarray:
    """Turn images that belong to nobody into outliers (:func:`glc.core.labelers.strangers.without_strangers`).

    Args:
        view: Features of N images.
        labels: Labels (N,) with neighborhoods for ``size`` images per person.
        size: See above.
        **judged: See :func:`glc.core.labelers.strangers.without_strangers`.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1; the labels, where the view does not leave out strangers.
    """
    if not view.leave_out_strangers:
        return labels
    # Many neighbors show many clusters. Of very many images a wider search takes long.
    k = scales_for(size if len(view) > _MANY_IMAGES else _EXPECTED_SIZE)[0][-1]
    return without_strangers(view, labels, k, **judged)


def response(
    labels: np.ndarray, found: np.ndarray, size: float, following: float, judged: Images = EVERYONE
) -> float:
    """Tell how much full clusters grow from some labels (N,) to those with larger neighborhoods: 1 where as much.

    Args:
        labels: Labels with neighborhoods for ``size`` images per person; full are clusters of at least so many. Images
            that are alone have much to join: from a quarter to three quarters of them, the answer goes to 1.
        found: Labels with neighborhoods for ``following`` images per person.
        size: See above.
        following: See above.
        judged: Images that count, bool (N,) or a slice.
    """
    before, after = own_sizes(labels)[judged], own_sizes(found)[judged]
    full = before >= size
    alone = float(np.interp((labels[judged] < 0).mean(), [0.25, 0.75], [0, 1])) if full.any() else 1.0
    if alone == 1:
        return alone
    step = log(sum(scales_for(following)[0]) / sum(scales_for(size)[0]))
    return alone + (1 - alone) * float(np.log(after[full] / before[full]).mean()) / step


def own_sizes(labels: np.ndarray) -> np.ndarray:
    """Return the size (N,) of every image's cluster, 1 for an outlier.

    Example:
        >>> own_sizes(np.array([0, 0, 1, -1])).tolist()
        [2, 2, 1, 1]
    """
    clusters = with_singletons(labels)
    return np.bincount(clusters)[clusters]


def neighbor_purity(labels: np.ndarray, graph: KNNGraph) -> np.ndarray:
    """Return which share of every image's nearest neighbors is in its cluster, (N,); nan for outliers.

    An image of a cluster of ten has nine others in it, so its nine nearest ones are looked at.

    Args:
        labels: Labels (N,).
        graph: Neighbors of the images, as many as are looked at in large clusters.

    Example:
        >>> from glc.core.neighbors.knn import knn_graph
        >>> graph = knn_graph(np.array([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]]), k=3)
        >>> neighbor_purity(np.array([0, 0, 1, -1]), graph)
        array([ 1.,  1., nan, nan])
        >>> neighbor_purity(np.array([0, 1, 0, 1]), graph)
        array([0., 0., 0., 0.])
    """
    clusters = torch.from_numpy(labels).to(graph.indices.device)
    count = torch.from_numpy(own_sizes(labels)).to(clusters.device)[:, None].clamp(max=graph.k) - 1
    inside = (clusters[graph.indices[:, 1:]] == clusters[:, None]).cumsum(dim=1)
    purity = inside.gather(1, (count - 1).clamp(min=0)) / count.double()
    return purity.masked_fill(count == 0, torch.nan).squeeze(1).cpu().numpy()


def one_camera_share(labels: np.ndarray, cam_ids: Tensor | None) -> float:
    """Return the share of clustered images whose cluster has one camera; those of unknown cameras do not count.

    Example:
        >>> from torch import tensor
        >>> one_camera_share(np.array([0, 0, 0, 1, 1, -1]), tensor([2, 2, 2, 1, 2, 1]))
        0.6
    """
    if cam_ids is None:
        return 0.0
    cameras = cam_ids.cpu().numpy()
    known = (labels >= 0) & (cameras >= 0)
    if not known.any():
        return 0.0
    clustered, cameras = labels[known], cameras[known]
    cameras_of = np.bincount(np.unique(np.stack([clustered, cameras]), axis=1)[0])
    return float((cameras_of[clustered] == 1).mean())


def scales_for(size: float) -> tuple[list[int], list[int]]:
    """Return k1 and k2 of every scale for so many images per person.

    Example:
        >>> scales_for(4)
        ([3, 5, 7, 11], [1, 1, 2, 2])
    """
    # Rounded at different places, so that not all of them jump at the same size.
    k1 = np.maximum(np.rint(_K1_PER_IMAGE * size + _SPREAD), 3)
    k2 = np.clip(np.rint(_K2_PER_K1 * _K1_PER_IMAGE * size - _SPREAD), 1, k1)
    return k1.astype(int).tolist(), k2.astype(int).tolist()
