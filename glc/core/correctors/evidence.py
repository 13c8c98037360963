"""Which changes of labels are made: those that evidence is for which did not learn from these labels.

The evidence is the graph of the consensus (:mod:`glc.core.labelers.adaptive`), made from features and cameras alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from glc.core.evaluation.label_quality import label_quality
from glc.core.evaluation.ranking import score_queries
from glc.core.labelers.adaptive import Consensus, consensus, consensus_distance, put_strangers_out
from glc.core.labels import as_unit_features, compact_labels, unit_centroids, with_singletons
from glc.core.neighbors.view import FeatureView
from glc.core.whitening import within_class_whitening

_FAR = 0.02
_OTHER_IDEA = 0.6
_RANDOM_SHARE = 0.05
_UNSUPPORTED_SHARE = 0.004
_TEACHES = -2.0
_TEACHES_MORE = 1.0
_TEACHES_LESS = -3.5
_FEWEST_CLUSTERS = 4
_SAME = 0.95
_SHRINKAGE = 0.3
_QUERIES = 300
_DRAWS = 3
_LARGE_UNION = 1.8
_LARGEST_UNION = 2.2
_HALVES_SHARE = 0.015
_ROUNDS = 3
_DOUBT_COST = 0.5
_FEWEST_STRANGERS = 50
_FEW_STRANGERS = 0.2
_MANY_STRANGERS = 0.4
_PARTS_PER_STRANGER = 0.1


def accept_changes(
    view: FeatureView[Any], labels: np.ndarray, proposal: np.ndarray, seed: int = 0, anew: bool = False
) -> np.ndarray:
    """Choose between labels, careful changes of them, and a proposal that clusters the images anew.

    Labels that know more than the graph are only changed where they look like noise: :func:`leave_far`,
    :func:`join_halves`, :func:`take_in`. They are recognized by what they teach (:func:`teaching`). Either their
    metric serves held-out clusters better than that of the graph's own clusters, on those of both together. Or it
    serves their own clusters as well, and they join images that the graph does not, more than labels made from such a
    graph would.

    Where the graph does not even hold most images with the main part of their label, it has another idea of what a
    person is, and no say. But labels that teach far less than the graph are no idea: many people are merged in them.
    Other labels give way to the proposal, unless they are nearly those of the graph: then little is to be gained.

    Images of nobody else say more where the graph found many: to leave them alone, labels must know people. Labels that
    join many of them to other images give way, unless they teach more. Labels that join few of them stay, if they join
    others that the graph does not: small pieces of its clusters hold no strangers either.

    Where the labels stay, images that they leave alone are doubted: those whose nearest image is no nearer than images
    of other people are stay alone (:func:`glc.core.labelers.strangers.without_strangers`). An image that is put out
    wrongly counts half of a stranger that is found there: the labels know why they leave an image alone. In a proposal,
    images are doubted that the graph leaves alone, if it found strangers at all.

    Args:
        view: Features of N images, and their cameras.
        labels: Labels (N,), -1 = outlier, others 0..C-1. Where all are outliers, the proposal is taken.
        proposal: Labels (N,) of a corrector.
        seed: Seed of the drawn halves and queries.
        anew: The proposal clusters the graph anew: where the labels are the graph's own, it is taken, since they hold
            nothing that this could lose.

    Returns:
        int64 labels (N,): -1 = outlier, others 0..C-1.
    """
    graph = consensus(view, seed)
    if labels.max() < 0 or (anew and np.array_equal(labels, graph.labels)):
        return _without_new_strangers(view, proposal, graph)
    changed = _change(view, labels, graph, seed)
    if not _stay(view, changed, graph, seed):
        return _without_new_strangers(view, proposal, graph)
    # Strangers may look like people whom the labels leave alone, too.
    others = np.where(graph.labels >= 0, changed.max() + 1 + graph.labels, -1)
    everyone = compact_labels(np.where(changed >= 0, changed, others))
    doubted = (labels < 0) & (changed >= 0)
    kept = put_strangers_out(view, everyone, graph.sizes[-1], min_size=1, doubted=doubted, cost=_DOUBT_COST)
    return compact_labels(np.where(kept < 0, -1, changed))


def _without_new_strangers(view: FeatureView[Any], proposal: np.ndarray, graph: Consensus) -> np.ndarray:
    """Put strangers out of a proposal (N,), of those images that the graph left alone; return labels without gaps."""
    proposal = compact_labels(proposal)
    doubted = (graph.labels < 0) & (proposal >= 0)
    if not (graph.strangers.any() and doubted.any()):
        return proposal
    return put_strangers_out(view, proposal, graph.sizes[-1], doubted=doubted)


def _change(view: FeatureView[Any], labels: np.ndarray, graph: Consensus, seed: int) -> np.ndarray:
    links = similarities(consensus_distance(view, seed))
    changed = join_halves(links, leave_far(view.centered, links, labels), seed)
    return take_in(links, changed, graph.labels >= 0)


def _stay(view: FeatureView[Any], changed: np.ndarray, graph: Consensus, seed: int) -> bool:
    """Whether carefully changed labels (N,) stay, rather than give way to a proposal."""
    links = similarities(consensus_distance(view, seed))
    parts = find_parts(view.centered, links, changed)
    joined = max(1, int((compact_labels(changed, min_size=2) >= 0).sum()))
    if label_quality(changed, with_singletons(graph.labels))['pairwise_f'] >= _SAME:
        return True
    at_home, away = teaching(view.centered, changed, graph.labels, seed)
    other_idea = parts.size.sum() >= _OTHER_IDEA * joined
    unsupported = parts.size[parts.farness > _FAR].sum() / joined
    joins_more = unsupported >= _UNSUPPORTED_SHARE and at_home > _TEACHES
    taught = at_home + away
    if taught > _TEACHES_MORE:
        return True
    joins_strangers = strangers_joined(changed, graph)
    if joins_strangers > _MANY_STRANGERS and taught < 0:
        return False
    if joins_strangers < _FEW_STRANGERS and parts.size.sum() > _PARTS_PER_STRANGER * joins_strangers * joined:
        return True
    return taught > _TEACHES_LESS and (other_idea or joins_more)


def strangers_joined(labels: np.ndarray, graph: Consensus) -> float:
    """Tell how often labels join a stranger to other images, over how often they join an image that is none.

    Args:
        labels: Labels (N,), -1 = outlier, others 0..C-1.
        graph: Says who is a stranger, and which images are in clusters.

    Returns:
        The ratio; nan where there are few strangers.
    """
    if graph.strangers.sum() < _FEWEST_STRANGERS:
        return np.nan
    joined = compact_labels(labels, min_size=2) >= 0
    return float(joined[graph.strangers].mean() / max(joined[graph.labels >= 0].mean(), 1e-12))


def similarities(distance: sparse.csr_array) -> sparse.csr_array:
    """Return 1 - distance (N, N) without the diagonal."""
    links = distance.copy()
    links.data = 1 - distance.data
    links.setdiag(0)
    links.eliminate_zeros()
    return links


@dataclass(frozen=True)
class Parts:
    """The parts into which labels fall in a graph, without the largest part of each label.

    Args:
        of_image: Part (N,) of every image; numbers that ``number`` does not list are main parts or outliers.
        number: Numbers (P,) of the parts.
        label: Label (P,) of the parts.
        size: Images (P,) of the parts.
        farness: Share (P,) of the other labels that are nearer to the part than its label's main part is.
    """

    of_image: np.ndarray
    number: np.ndarray
    label: np.ndarray
    size: np.ndarray
    farness: np.ndarray


def find_parts(features: Tensor, links: sparse.csr_array, labels: np.ndarray) -> Parts:
    """Find the parts of labels that the graph does not join to the largest part of their label.

    Args:
        features: Unit features (N, D).
        links: Symmetric sparse weights (N, N).
        labels: Labels (N,), -1 = outlier, others 0..C-1.
    """
    of_image = connected_components(_inside(links, labels), directed=False)[1]
    size = np.bincount(of_image)
    label = np.full(len(size), -1)
    label[of_image] = labels
    means = unit_centroids(features, torch.from_numpy(of_image.astype(np.int64)).to(features.device))
    by_size = np.argsort(size, kind='stable')
    by_size = by_size[label[by_size] >= 0]
    main = np.full(labels.max() + 1, -1)
    main[label[by_size]] = by_size  # the last one written is the largest
    number = np.setdiff1d(by_size, main)
    own = label[number]
    farness = np.empty(len(number))
    for start in range(0, len(number), 4096):
        rows = slice(start, start + 4096)
        near = means[torch.from_numpy(number[rows])] @ means[torch.from_numpy(main)].T
        to_own = near.gather(1, torch.from_numpy(own[rows])[:, None].to(near.device))
        farness[rows] = (near > to_own).double().mean(1).cpu().numpy()
    return Parts(of_image, number, own, size[number], farness)


def leave_far(features: Tensor, links: sparse.csr_array, labels: np.ndarray) -> np.ndarray:
    """Take parts out of their label that are as far from the rest of it as random people are.

    A part of several images becomes a cluster of its own, a single image an outlier.

    Args:
        features: Unit features (N, D).
        links: Symmetric sparse weights (N, N).
        labels: Labels (N,), -1 = outlier, others 0..C-1.

    Returns:
        Labels (N,), numbered without gaps.
    """
    parts = find_parts(features, links, labels)
    labeled = labels >= 0
    target = np.full(int(parts.of_image.max()) + 1, labels.max() + 1)
    for alone, count in ((False, len(np.unique(labels[labeled]))), (True, int(labeled.sum()))):
        group = (parts.size == 1) == alone
        leaving = parts.number[group][_random(parts.farness[group], count)]
        target[leaving] = -1 if alone else labels.max() + 2 + np.arange(len(leaving))
    moved = target[parts.of_image]
    return compact_labels(np.where(moved == labels.max() + 1, labels, moved))


def _random(farness: np.ndarray, count: int) -> np.ndarray:
    """Which parts (P,) lie as random people do.

    The farness of a random person's part is uniform in [0, 1], that of hard images of the same person is small. Twice
    the parts above 0.5 estimate the random ones. The threshold is that at which right exceed wrong ones the most. None
    are random where these are few among ``count``: careful annotation has images that resemble nothing, too.
    """
    random = 2 * (farness > 0.5).sum()
    thresholds = np.concatenate([[-1e-9], np.unique(farness), [1.0]])  # the first one: all of them
    above = len(farness) - np.searchsorted(np.sort(farness), thresholds, side='right')
    benefit = 2 * random * (1 - thresholds) - above
    if benefit.max() <= 0 or random < _RANDOM_SHARE * count:
        return np.zeros(len(farness), bool)
    return farness > thresholds[benefit.argmax()]


def join_halves(links: sparse.csr_array, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Join pairs of labels that are linked as densely as two random halves of one label are.

    Only pairs are joined that are each other's best, and no larger together than 2.2 times a typical label.

    Args:
        links: Symmetric sparse weights (N, N).
        labels: Labels (N,), -1 = outlier, others 0..C-1.
        seed: Seed of the halves.

    Returns:
        Labels (N,) without gaps.
    """
    labels = compact_labels(labels)
    sizes = np.bincount(labels[labels >= 0])
    first, second, density = _densities(links, labels)
    best = np.zeros(len(sizes))
    np.maximum.at(best, first, density)
    np.maximum.at(best, second, density)
    typical = np.exp(np.average(np.log(sizes), weights=sizes))
    candidates = (
        (density > 0)
        & (density >= np.maximum(best[first], best[second]))
        & (sizes[first] + sizes[second] <= _LARGEST_UNION * typical)
    )
    first, second, density = first[candidates], second[candidates], density[candidates]
    of_halves = _densities_of_halves(links, labels, sizes, seed)
    if not len(density) or not len(of_halves) or np.median(of_halves) <= 0:
        return labels
    large = sizes[first] + sizes[second] > _LARGE_UNION * typical
    joined = np.zeros(len(density), bool)
    for group in (~large, large):  # where most labels are halves, typical ones are, and all unions are large
        joined[group] = _as_dense_as_halves(density[group], of_halves, len(sizes))
    target = np.arange(len(sizes))
    target[second[joined]] = first[joined]
    return compact_labels(np.where(labels >= 0, target[labels], -1))


def _as_dense_as_halves(density: np.ndarray, of_halves: np.ndarray, count: int) -> np.ndarray:
    """Which pairs (P,) to join: those above the density at which right joins exceed twice the wrong ones the most.

    None are joined where these are few among ``count`` labels: a few people always look like others.
    """
    middle = np.median(of_halves)
    halves = (density > middle).sum() / (of_halves > middle).mean()
    thresholds = np.append(np.unique(density), np.inf)
    reached = np.array([(of_halves > threshold).mean() for threshold in thresholds])
    found = np.array([(density >= threshold).sum() for threshold in thresholds])
    benefit = 3 * halves * reached - 2 * found
    joined = density >= thresholds[benefit.argmax()]
    return joined & (benefit.max() > 0) & (joined.sum() >= _HALVES_SHARE * count)


def take_in(links: sparse.csr_array, labels: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Give outliers the label that holds more than half of their links; links to outliers count as links elsewhere.

    Args:
        links: Symmetric sparse weights (N, N).
        labels: Labels (N,), -1 = outlier, others 0..C-1.
        candidates: Which images (N,) may get one. Those that the consensus of the features leaves out stay out: in a
            training their labels were wrong more often than right.

    Returns:
        Labels (N,).
    """
    total = links.sum(axis=1)
    for _ in range(_ROUNDS):
        outliers = np.flatnonzero((labels < 0) & (total > 0) & candidates)
        votes = (links[outliers] @ _members(labels)).tocsr()
        won = (
            votes.max(axis=1).toarray().ravel() > 0.5 * total[outliers]
            if len(outliers)
            else np.zeros(0, bool)
        )
        if not won.any():
            break
        labels = labels.copy()
        labels[outliers[won]] = votes.argmax(axis=1).ravel()[won]
    return labels


def teaching(features: Tensor, labels: np.ndarray, others: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Compare what two labelings teach about held-out clusters, those of the first and those of the second one.

    A metric (:func:`glc.core.correctors.whitening.within_class_whitening`) is learned from what ``labels`` say of the
    images of one half of the clusters, and another one from what ``others`` say of them. Both rank the images of the
    other half.

    Args:
        features: Unit features (N, D).
        labels: Labels (N,), -1 = outlier, others 0..C-1.
        others: Labels (N,) to compare with.
        seed: Seed of halves and queries.

    Returns:
        t values of the difference of average precisions, the mean of three draws, on clusters of ``labels`` and on
        those of ``others``: above 0 where ``labels`` teach more. Both are -inf where ``labels`` have fewer than four
        clusters of two images, and either is where a half of the clusters teaches nothing.
    """
    labels, others = (compact_labels(found, min_size=2) for found in (labels, others))
    if labels.max() < _FEWEST_CLUSTERS - 1:
        return -np.inf, -np.inf
    at_home, away = (
        float(np.mean([_advantage(features, labels, others, judge, seed + draw) for draw in range(_DRAWS)]))
        for judge in (labels, others)
    )
    return at_home, away


def _advantage(
    features: Tensor, labels: np.ndarray, others: np.ndarray, judge: np.ndarray, seed: int
) -> float:
    """Return the t value by which ``labels`` teach more than ``others``; 0 where ``judge`` has too few clusters."""
    if judge.max() < _FEWEST_CLUSTERS - 1:
        return 0.0
    rng = np.random.default_rng(seed)
    fold = rng.permutation(judge.max() + 1) % 2
    differences = []
    for half in (0, 1):
        teacher, pupil = (np.flatnonzero((judge >= 0) & (fold[judge] == side)) for side in (half, 1 - half))
        queries = rng.permutation(len(pupil))[:_QUERIES]
        x, mean = features[pupil], features[teacher].mean(0)
        precisions = []
        for taught in (labels[teacher], others[teacher]):
            known = compact_labels(taught, min_size=2)
            kept = known >= 0
            if known.max() < 1:
                return -np.inf
            metric = within_class_whitening(
                features[teacher[kept]], torch.from_numpy(known[kept]).to(features.device), _SHRINKAGE
            )
            unit = as_unit_features((x - mean) @ metric)
            precisions.append(_average_precisions(unit, judge[pupil], queries))
        differences.append(precisions[0] - precisions[1])
    difference = np.concatenate(differences)
    return float(difference.mean() / (difference.std() / len(difference) ** 0.5 + 1e-9))


def _average_precisions(x: Tensor, labels: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """Average precision (Q,) of the images of the same label among all others, 0 without any."""
    everyone = np.arange(len(x))  # an image of the query's label and camera is ignored: itself
    scores = score_queries(x[torch.from_numpy(queries)], x, labels[queries], labels, queries, everyone)
    return np.nan_to_num(scores['ap'])


def _inside(links: sparse.csr_array, labels: np.ndarray) -> sparse.csr_array:
    """The links whose two images have the same label."""
    edges = links.tocoo()
    same = (labels[edges.row] == labels[edges.col]) & (labels[edges.row] >= 0)
    return sparse.csr_array((edges.data[same], (edges.row[same], edges.col[same])), shape=links.shape)


def _members(labels: np.ndarray) -> sparse.csr_array:
    """0/1 matrix (N, C) of who belongs where."""
    labeled = np.flatnonzero(labels >= 0)
    shape = (len(labels), labels.max() + 1)
    return sparse.csr_array((np.ones(len(labeled)), (labeled, labels[labeled])), shape=shape)


def _densities(links: sparse.csr_array, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linked pairs of labels of at least two images: first, second, density of links between over that within."""
    members = _members(labels)
    sums = (members.T @ links @ members).tocsr()
    sizes = np.bincount(labels[labels >= 0]).astype(float)
    within = sums.diagonal() / np.maximum(sizes * (sizes - 1), 1)
    pairs = sparse.triu(sums, k=1).tocoo()
    first, second = pairs.row, pairs.col
    between = pairs.data / (sizes[first] * sizes[second])
    kept = (np.minimum(sizes[first], sizes[second]) > 1) & (within[first] * within[second] > 0)
    first, second, between = first[kept], second[kept], between[kept]
    return first, second, between / np.sqrt(within[first] * within[second])


def _densities_of_halves(
    links: sparse.csr_array, labels: np.ndarray, sizes: np.ndarray, seed: int
) -> np.ndarray:
    """The density of :func:`_densities` between random halves of the labels of at least four images."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.flatnonzero(labels >= 0))
    order = order[np.argsort(labels[order], kind='stable')]
    rank = np.arange(len(order)) - (sizes.cumsum() - sizes)[labels[order]]
    halves = np.full(len(labels), -1)
    halves[order] = 2 * labels[order] + (rank < sizes[labels[order]] / 2)
    halves[(labels >= 0) & (sizes[labels] < 4)] = -1
    if halves.max() < 0:
        return np.zeros(0)
    first, second, density = _densities(links, halves)
    own = density[first // 2 == second // 2]
    return np.append(own, np.zeros(int((sizes >= 4).sum()) - len(own)))
