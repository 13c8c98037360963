"""Images that belong to nobody: against plain loops, on made-up people and on real ones."""

from functools import cache
from math import ceil, inf

import numpy as np
import pytest
from scipy.stats import norm

from glc import GLC, AdaptiveConsensus, FeatureView, MetricConsensus, MultiScaleConsensus
from glc.core.correctors import evidence
from glc.core.correctors.evidence import accept_changes, strangers_joined
from glc.core.labelers import strangers
from glc.core.labelers.adaptive import Consensus, consensus, consensus_distance, labels_for
from glc.core.labelers.strangers import Crowds, without_strangers
from glc.core.labels import compact_labels, with_singletons
from tests.test_core.test_labelers.test_adaptive import real_images, scores
from tools.benchmarks._data import planted_noise

K = 63
REAL = ['market1501_pass_vit_s', 'market1501_weak_256d', 'cuhk03_osnet_x0_25']


def people_and_strangers(num_people=140, num_strangers=1000, noise=0.9, dim=128, seed=0, shared=0.0):
    """4 to 24 images per person, others alone; ``shared`` noise has the same few directions for everybody."""
    rng = np.random.default_rng(seed)
    sizes = np.append(rng.integers(4, 25, num_people), np.ones(num_strangers, np.int64))
    truth = np.arange(len(sizes)).repeat(sizes)
    centers, own = (rng.normal(size=(count, dim)) / dim**0.5 for count in (len(sizes), len(truth)))
    directions = rng.normal(size=(8, dim)) / dim**0.5
    return centers[truth] + noise * own + shared * rng.normal(size=(len(truth), 8)) @ directions, truth


@cache
def viewed(**how):
    """One view of these for all tests: it keeps the consensus."""
    features, truth = people_and_strangers(**how)
    return FeatureView(features, expected_k=K), truth


def wrongly_clustered(view, truth, size=9.0):
    """Labels that hold many strangers."""
    labels = labels_for(view, size)
    assert (labels[np.bincount(truth)[truth] == 1] >= 0).mean() > 0.3
    return labels


def in_loops(view, labels, k, doubted, cost, step):
    """What without_strangers does, image by image in float64, with the densities of SciPy."""
    x = view.centered.numpy().astype(np.float64)
    neighbors = view.neighbors(k).indices.numpy()
    own, other = {}, {}
    for half in (0, 1):
        taught = [name for name in range(labels.max() + 1) if name % 2 != half]
        scatter = sum(
            (x[labels == c] - x[labels == c].mean(0)).T @ (x[labels == c] - x[labels == c].mean(0))
            for c in taught
        )
        count = sum((labels == c).sum() for c in taught)
        dim, freedom, trace = x.shape[1], count - len(taught), np.trace(scatter)
        square = (scatter**2).sum()
        amount = max(0.1, min(1, (square + trace**2) / ((freedom + 1) * (square - trace**2 / dim))))
        values, vectors = np.linalg.eigh((1 - amount) * scatter / (trace / dim) + amount * np.eye(dim))
        seen = (x - x.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
        seen /= np.linalg.norm(seen, axis=1, keepdims=True)
        for i in np.flatnonzero((labels >= 0) & (labels % 2 == half)):
            near = [j for j in neighbors[i, 1:] if labels[j] >= 0]
            mates = [np.arctanh(seen[i] @ seen[j]) for j in near if labels[j] == labels[i]]
            others = [np.arctanh(seen[i] @ seen[j]) for j in near if labels[j] != labels[i]]
            if mates:
                own[i], other[i] = max(mates), max(others, default=np.nan)
    images = [i for i in np.flatnonzero(labels >= 0)[::step] if i in own]
    found, compared = (np.array([of[i] for i in images]) for of in (own, other))
    share, stranger, member, null = maximized_in_loops(found, compared, tied=False)
    distance = 2**0.5 * (member[0] - null[0]) / (member[1] ** 2 + null[1] ** 2) ** 0.5
    as_near = sum((1 - stranger)[compared >= null[0] - null[1]]) / sum((1 - stranger)[~np.isnan(compared)])
    tied = maximized_in_loops(found, compared, tied=True)
    explained, explained_tied = (
        sum(np.log(p * norm.pdf(found, *low) + (1 - p) * norm.pdf(found, *high)))
        for p, high, low in ((share, member, null), (tied[0], tied[2], tied[3]))
    )
    apart = distance > 2 and as_near >= 0.2 and explained - explained_tied > np.log(len(found))
    if not apart:
        share, stranger, member, null = tied
    judged = np.array([doubted is None or doubted[i] for i in images])
    if doubted is not None:
        share = 0.5
        for _ in range(100):
            densities = share * norm.pdf(found[judged], *null), (1 - share) * norm.pdf(found[judged], *member)
            share = (densities[0] / sum(densities)).mean()
    odds = share * norm.pdf(found, *null) / ((1 - share) * norm.pdf(found, *member))
    threshold = max(found[judged & (odds > cost) & (found < member[0])])
    put_out = [i for i in own if own[i] <= threshold and (doubted is None or doubted[i])]
    return np.isin(np.arange(len(x)), put_out), apart


def maximized_in_loops(found, compared, tied):
    """Expectation maximization of two crowds: share and probability of strangers, members, strangers."""

    def moments(weights):
        mean = (found * weights).sum() / weights.sum()
        return mean, max(((found - mean) ** 2 * weights).sum() ** 0.5 / weights.sum() ** 0.5, 0.02)

    share, member = 0.3, (np.quantile(found, 0.65), 0.7 * found.std())
    middle, spread = quartiles_in_loops(compared, np.ones(len(found)))
    null = middle, spread if tied else spread / 1.349
    for _ in range(300):
        densities = share * norm.pdf(found, *null), (1 - share) * norm.pdf(found, *member)
        stranger = densities[0] / sum(densities)
        before, share, member = share, stranger.mean(), moments(1 - stranger)
        null = quartiles_in_loops(compared, 1 - stranger) if tied else moments(stranger)
        if abs(share - before) < 1e-5:
            break
    densities = share * norm.pdf(found, *null), (1 - share) * norm.pdf(found, *member)
    return share, densities[0] / sum(densities), member, null


def quartiles_in_loops(numbers, weights):
    """Median and interquartile range: the least numbers that hold such a share of the weight."""
    order = [i for i in np.argsort(numbers) if not np.isnan(numbers[i])]
    total = sum(weights[i] for i in order)
    quartiles = []
    for share in (0.25, 0.5, 0.75):
        weight = 0.0
        for i in order:
            weight += weights[i]
            if weight >= share * total:
                quartiles.append(numbers[i])
                break
    return quartiles[1], quartiles[2] - quartiles[0]


@pytest.mark.parametrize(
    ('noise', 'shared', 'dim', 'size', 'apart'),
    [(0.9, 0.0, 64, 9.0, True), (0.5, 0.6, 32, 4.0, False)],
)
@pytest.mark.parametrize(('doubts', 'step'), [(False, 1), (True, 1), (True, 3)])
def test_against_loops(doubts, step, noise, shared, dim, size, apart, monkeypatch):
    """Of many images, every third decides how similar is too little."""
    features, truth = people_and_strangers(40, 300, noise, dim, shared=shared)
    view = FeatureView(features, expected_k=K)
    labels = wrongly_clustered(view, truth, size)
    alone = np.bincount(truth)[truth] == 1
    doubted = alone | (np.random.default_rng(1).random(len(labels)) < 0.2) if doubts else None
    cost = 0.5 if doubts else 1.5
    put_out, found_apart = in_loops(view, labels, K, doubted, cost, step)
    assert found_apart == apart
    monkeypatch.setattr(strangers, '_FITTED_IMAGES', ceil((labels >= 0).sum() / step))
    found = without_strangers(view, labels, K, min_size=1, doubted=doubted, cost=cost)
    np.testing.assert_array_equal((found < 0) & (labels >= 0), put_out)
    assert 20 < put_out.sum() < 600


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_strangers_leave_and_people_stay(seed):
    view, truth = viewed(seed=seed)
    labeler = AdaptiveConsensus()
    found = labeler(view)
    before = labels_for(view, labeler.sizes_[-1])
    left = (found < 0) & (before >= 0)
    assert left.sum() > 20
    assert (np.bincount(truth)[truth[left]] == 1).mean() > 0.7
    assert (scores(found, truth) > scores(before, truth) + 0.005).all()


def test_strangers_stay_where_a_view_says_so():
    ordinary, _ = viewed()
    view = FeatureView(ordinary.features, leave_out_strangers=False)
    labeler = AdaptiveConsensus()
    np.testing.assert_array_equal(labeler(view), labels_for(view, labeler.sizes_[-1]))
    assert not consensus(view).strangers.any()
    assert consensus(ordinary).strangers.any()


@pytest.mark.parametrize(('sizes', 'noise'), [([4] * 150, 0.8), ([20] * 40, 1.1), ([100] * 10, 1.1)])
def test_nobody_leaves_where_all_are_people(sizes, noise):
    rng = np.random.default_rng(0)
    truth = np.arange(len(sizes)).repeat(sizes)
    features = rng.normal(size=(len(sizes), 64))[truth] + noise * rng.normal(size=(len(truth), 64))
    np.testing.assert_array_equal(without_strangers(FeatureView(features), truth, K), truth)


def test_blocks_do_not_matter_and_samples_not_much(monkeypatch):
    view, truth = viewed()
    labels = wrongly_clustered(view, truth)
    found = without_strangers(view, labels, K)
    monkeypatch.setattr(strangers, '_ROWS_PER_BLOCK', 7)
    np.testing.assert_array_equal(without_strangers(view, labels, K), found)
    monkeypatch.setattr(strangers, '_LEARNED_IMAGES', 150)
    assert (scores(without_strangers(view, labels, K), truth) > scores(labels, truth)).all()


def test_small_clusters_are_left_out():
    view, truth = viewed()
    labels = wrongly_clustered(view, truth)
    by_least = [
        np.bincount(without_strangers(view, labels, K, min_size=least) + 1)[1:].min() for least in (1, 2, 5)
    ]
    assert by_least[0] == 1
    assert by_least[1] >= 2
    assert by_least[2] >= 5


@pytest.mark.parametrize('labels', [np.zeros(40), np.full(40, -1), np.arange(40), np.arange(40) // 20])
def test_too_little_to_judge_by(labels):
    features = np.random.default_rng(0).normal(size=(40, 8))
    labels = labels.astype(np.int64)
    np.testing.assert_array_equal(without_strangers(FeatureView(features), labels, K, min_size=1), labels)


def two_crowds(share, count=4000, gap=4.0, seed=3):
    """Similarities of images to their nearest one, strangers first, and to the nearest of others."""
    rng = np.random.default_rng(seed)
    strangers = round(count * share)
    own = np.concatenate([rng.normal(0, 1, strangers), rng.normal(gap, 1, count - strangers)])
    return own, rng.normal(0, 1, count), strangers


@pytest.mark.parametrize('share', [0.0, 0.02, 0.1, 0.3, 0.6])
def test_share_of_strangers(share):
    own, others, count = two_crowds(share)
    crowds = Crowds.fitted(own, others)
    assert abs(crowds.share - share) < 0.03
    assert abs(crowds.members[0] - 4) < 0.1
    threshold = crowds.threshold(own, 1.5)
    if share >= 0.1:
        assert (own[:count] <= threshold).mean() > 0.8
    assert (own[count:] <= threshold).mean() < 0.05
    assert crowds.threshold(own, 0.1) >= threshold >= crowds.threshold(own, 10)


@pytest.mark.parametrize('share', [0.0, 0.3, 0.9, 1.0])
def test_share_among_some_images(share):
    crowds = Crowds.fitted(*two_crowds(0.3)[:2])
    assert abs(crowds.among(two_crowds(share, 500, seed=4)[0]).share - share) < 0.06


def test_similarities_of_strangers_do_not_count_as_those_of_others():
    own, others, count = two_crowds(0.5, gap=6.0)
    shifted = others - 0.6 * (np.arange(len(own)) < count)
    crowds = Crowds.fitted(own, shifted)
    assert abs(crowds.strangers[0]) < 0.1
    assert abs(np.median(shifted)) > 0.2


def test_images_that_few_others_are_near():
    own, others, _ = two_crowds(0.3)
    others[::2] = np.nan
    assert abs(Crowds.fitted(own, others).share - 0.3) < 0.03
    others[99:] = np.nan
    assert Crowds.fitted(own, others) is None  # 49 are known
    assert Crowds.fitted(np.ones(4000), two_crowds(0.3)[1]) is None
    assert Crowds.fitted(np.empty(0), np.empty(0)) is None


def test_where_members_are_no_nearer_than_others_nobody_is_a_stranger():
    own = two_crowds(0.3)[0]
    assert Crowds(0.5, (5.0, 1.0), (4.0, 1.0)).threshold(own, 1.5) == -inf


def test_images_that_are_far_from_all_others_are_noise():
    own, others, count = two_crowds(0.3)
    assert Crowds.fitted(own, others) is not None
    assert Crowds.fitted(own, others - 2.0 * (np.arange(len(own)) < count)) is None


def test_members_of_two_sorts_are_no_strangers():
    """Some people differ more from image to image than others: both are far above other people."""
    rng = np.random.default_rng(0)
    own = np.concatenate([rng.normal(3, 0.5, 1500), rng.normal(8, 1, 2500)])
    found = Crowds.fitted(own, rng.normal(0, 0.5, 4000))
    assert found.share < 0.01
    assert Crowds.fitted(own, rng.normal(2.5, 0.5, 4000)).share > 0.3


def without_single_images(truth):
    """Perfect labels in which images of people who have no other are outliers."""
    return np.where(np.bincount(truth)[truth] > 1, truth, -1)


@pytest.mark.parametrize(('noise', 'shared', 'seed'), [(0.9, 0.0, 0), (0.9, 0.0, 1), (0.5, 0.4, 1)])
def test_perfect_labels_that_leave_strangers_alone_stay(noise, shared, seed):
    view, truth = viewed(noise=noise, seed=seed, shared=shared)
    assert (scores(GLC()(view, without_single_images(truth)), truth) > 0.98).all()


@pytest.mark.parametrize('corrector', [MetricConsensus, GLC])
def test_proposals_that_lost_strangers_have_no_gaps(corrector):
    view, truth = viewed()
    lost = consensus(view).strangers
    assert lost.sum() > 50
    proposal = corrector(min_cluster_size=5, careful=False)(view, wrongly_clustered(view, truth))
    assert (proposal[lost] == -1).all()
    assert np.bincount(proposal + 1)[1:].min() >= 5


def test_proposals_do_not_bring_strangers_back(monkeypatch):
    """Images that the graph leaves alone are judged again where a proposal takes them in."""
    view, truth = viewed()
    given = wrongly_clustered(view, truth)
    corrected = MetricConsensus()(view, given)
    monkeypatch.setattr(evidence, 'put_strangers_out', lambda view, labels, *others, **more: labels)
    taken = (MetricConsensus()(view, given) >= 0) & (consensus(view).labels < 0)
    alone = np.bincount(truth)[truth] == 1
    assert (taken & alone).sum() > 10
    assert (corrected[taken & alone] < 0).mean() > 0.5
    np.testing.assert_array_equal(corrected[consensus(view).labels >= 0] >= 0, True)


def test_how_often_strangers_are_joined():
    rng = np.random.default_rng(0)
    labels, groups = rng.integers(-1, 60, 400), rng.integers(-1, 9, 400)
    graph = Consensus((4.0,), groups, (groups < 0) | (np.arange(400) < 20))
    joined = [label >= 0 and (labels == label).sum() > 1 for label in labels]
    strangers = [joined[i] for i in range(400) if graph.strangers[i]]
    others = [joined[i] for i in range(400) if groups[i] >= 0]
    expected = (sum(strangers) / len(strangers)) / (sum(others) / len(others))
    assert strangers_joined(labels, graph) == pytest.approx(expected)
    assert np.isnan(strangers_joined(labels, Consensus((4.0,), groups, np.arange(400) < 49)))


@pytest.mark.parametrize(
    ('taught', 'switch', 'stay'),
    [(-1.5, None, False), (-1.5, '_MANY_STRANGERS', True), (0.1, None, True)],
)
def test_labels_that_join_strangers_are_no_other_idea(taught, switch, stay, monkeypatch):
    """But if they teach more than the graph, its strangers may be none."""
    view, truth = viewed()
    monkeypatch.setattr(evidence, 'teaching', lambda *args: (taught, taught))
    monkeypatch.setattr(evidence, '_OTHER_IDEA', 0.0)
    monkeypatch.setattr(evidence, '_SAME', 1.01)
    if switch:
        monkeypatch.setattr(evidence, switch, inf)
    found = accept_changes(view, wrongly_clustered(view, truth), np.zeros(len(truth), np.int64))
    assert (found.max() > 50) == stay


@pytest.mark.parametrize(
    ('merged', 'switch', 'stay'),
    [(True, None, True), (False, None, False), (True, '_FEW_STRANGERS', False)],
)
def test_labels_that_join_others_but_no_strangers_stay(merged, switch, stay, monkeypatch):
    """Two people are merged. Parts of the graph's own clusters join nobody, so they say nothing."""
    view, truth = viewed()
    monkeypatch.setattr(evidence, 'teaching', lambda *args: (-5.0, -5.0))
    monkeypatch.setattr(evidence, '_SAME', 1.01)
    if switch:
        monkeypatch.setattr(evidence, switch, 0.0)
    labels = consensus(view).labels
    if merged:
        labels = compact_labels(np.where(labels == 1, 0, labels))
    found = accept_changes(view, labels, np.zeros(len(truth), np.int64))
    assert (found.max() > 50) == stay


def test_clusters_of_one_image_are_judged_as_outliers(monkeypatch):
    """Nothing can be joined to them, so they do not count among the images of which labels join some."""
    view, truth = viewed()
    labels = consensus(view).labels
    labels = compact_labels(np.where(labels == 1, 0, labels))
    parts = evidence.find_parts(view.centered, evidence.similarities(consensus_distance(view)), labels)
    monkeypatch.setattr(evidence, 'teaching', lambda *args: (-3.0, 0.0))
    monkeypatch.setattr(evidence, '_SAME', 1.01)
    monkeypatch.setattr(evidence, '_FEW_STRANGERS', 0.0)
    monkeypatch.setattr(evidence, '_OTHER_IDEA', 0.9 * parts.size.sum() / (labels >= 0).sum())
    for given in (labels, with_singletons(labels)):
        assert accept_changes(view, given, np.zeros(len(truth), np.int64)).max() > 50


@cache
def real_people_and_strangers(name, among):
    """All images of one person among so many, one image of all others."""
    features, cams, truth = real_images(name)
    _, first, truth = np.unique(truth, return_index=True, return_inverse=True)
    kept = np.union1d(first, np.flatnonzero(truth % among == 0))
    return FeatureView(features[kept], cams[kept], expected_k=K), truth[kept]


@pytest.mark.slow
@pytest.mark.parametrize('among', [10, 50])
@pytest.mark.parametrize('name', REAL)
def test_perfect_labels_of_people_among_strangers_stay(name, among):
    view, truth = real_people_and_strangers(name, among)
    assert (scores(GLC()(view, truth), truth) > 0.999).all()
    assert (scores(GLC()(view, without_single_images(truth)), truth) > 0.92).all()


@pytest.mark.slow
@pytest.mark.parametrize('among', [10, 50])
@pytest.mark.parametrize('name', REAL)
def test_planted_noise_among_strangers_does_not_grow(name, among):
    view, truth = real_people_and_strangers(name, among)
    for kind in ('merged', 'split', 'outliers'):
        noisy = compact_labels(planted_noise(truth, kind, 0.4, seed=0))
        changed = accept_changes(view, noisy, consensus(view).labels)
        assert (scores(changed, truth) >= scores(noisy, truth) - 0.002).all(), kind


@pytest.mark.slow
@pytest.mark.parametrize('corrector', [MetricConsensus, GLC])
@pytest.mark.parametrize('among', [10, 50])
@pytest.mark.parametrize('name', REAL)
def test_corrections_among_strangers(name, among, corrector):
    """The graph's own labels lose nothing to speak of. Those full of strangers go, or stay where few can judge."""
    view, truth = real_people_and_strangers(name, among)
    own = consensus(view).labels
    assert (scores(corrector()(view, own), truth) > scores(own, truth) - 0.005).all()
    full = MultiScaleConsensus()(view)
    gain = 0.1 if among == 10 else -0.002
    assert (scores(corrector()(view, full), truth) > scores(full, truth) + gain).all()


@pytest.mark.slow
def test_images_that_good_labels_leave_alone_are_doubted(monkeypatch):
    view, truth = real_people_and_strangers('cuhk03_osnet_x0_25', 10)
    given = without_single_images(truth)
    corrected = GLC()(view, given)
    monkeypatch.setattr(evidence, 'put_strangers_out', lambda view, labels, *others, **more: labels)
    assert (scores(corrected, truth) > scores(GLC()(view, given), truth) + 0.01).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'gain'),
    [('market1501_pass_vit_s', 0.25), ('market1501_weak_256d', 0.3), ('cuhk03_osnet_x0_25', 0.15)],
)
def test_one_person_among_fifty_has_several_images(name, gain):
    view, truth = real_people_and_strangers(name, 50)
    labeler = AdaptiveConsensus()
    found = labeler(view)
    before = labels_for(view, labeler.sizes_[-1])
    assert (scores(found, truth) > scores(before, truth) + gain).all()
