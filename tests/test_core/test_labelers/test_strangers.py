"""Images that belong to nobody: against plain loops, on made-up people and on real ones."""

from math import inf

import numpy as np
import pytest

from glc import GLC, AdaptiveConsensus, FeatureView, JaccardDBSCAN, MetricConsensus
from glc.core.correctors import evidence
from glc.core.labelers import strangers
from glc.core.labelers.adaptive import consensus, labels_for
from glc.core.labelers.strangers import stranger_threshold, without_strangers
from tests.test_core.test_labelers.test_adaptive import real_images, scores

K = 63


def people_and_strangers(num_people=140, num_strangers=1000, noise=0.9, dim=128, seed=0, shared=0.0):
    """4 to 24 images per person, others alone; ``shared`` noise has the same few directions for everybody."""
    rng = np.random.default_rng(seed)
    sizes = np.append(rng.integers(4, 25, num_people), np.ones(num_strangers, np.int64))
    truth = np.arange(len(sizes)).repeat(sizes)
    centers, own = (rng.normal(size=(count, dim)) / dim**0.5 for count in (len(sizes), len(truth)))
    directions = rng.normal(size=(8, dim)) / dim**0.5
    return centers[truth] + noise * own + shared * rng.normal(size=(len(truth), 8)) @ directions, truth


def wrongly_clustered(view, truth, size=9.0):
    """Labels that hold many strangers."""
    labels = labels_for(view, size)
    assert (labels[np.bincount(truth)[truth] == 1] >= 0).mean() > 0.3
    return labels


def in_loops(view, labels, k, nearest, cost, doubted):
    """What without_strangers does, image by image in float64."""
    x = view.centered.numpy().astype(np.float64)
    neighbors = view.neighbors(k).indices.numpy()
    own, others = np.full(len(x), np.nan), {}
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
            mates = [j for j in np.flatnonzero(labels == labels[i]) if j != i]
            own[i] = np.mean([seen[i] @ seen[j] for j in mates])
            near = {labels[j] for j in neighbors[i, 1:]} - {-1, labels[i]}
            found = sorted((np.mean(seen[labels == c] @ seen[i]) for c in near), reverse=True)
            others[i] = found
    usual = sorted(own[list(others)])[(len(others) - 1) // 2]
    better = [i for i in others if own[i] >= usual]
    rank = nearest
    while (
        rank < 7 and np.mean([len(others[i]) >= rank and others[i][rank - 1] >= usual for i in better]) >= 0.1
    ):
        rank += 1

    def ranked(i, rank):
        return others[i][min(rank, len(others[i])) - 1] if others[i] else 0.0

    margin = {i: own[i] - 0.5 * ranked(i, rank) for i in others}
    compared = [ranked(i, rank) - 0.5 * ranked(i, 2 * rank) for i in others if len(others[i]) >= rank]
    judged = [i for i in others if doubted is None or doubted[i]]
    shares = [(np.mean([margin[i] <= t for i in judged]), np.mean(np.array(compared) <= t)) for t in compared]
    share = min(of_own / of_others for of_own, of_others in shares if of_others >= 0.2)
    benefit = [share * f - cost * (g - share * f) for g, f in shares]
    threshold = compared[int(np.argmax(benefit))] if max(benefit) > 0 else -inf
    return np.array([i in judged and margin[i] < threshold for i in range(len(x))]), rank


@pytest.mark.parametrize(
    ('noise', 'shared', 'size', 'rank'), [(0.9, 0.0, 9.0, None), (0.5, 0.4, 9.0, None), (0.5, 0.4, 3.0, 5)]
)
@pytest.mark.parametrize('doubts', [False, True])
def test_against_loops(doubts, noise, shared, size, rank):
    features, truth = people_and_strangers(40, 300, noise, 64, shared=shared)
    view = FeatureView(features, expected_k=K)
    labels = wrongly_clustered(view, truth, size)
    alone = np.bincount(truth)[truth] == 1
    doubted = alone | (np.random.default_rng(1).random(len(labels)) < 0.2) if doubts else None
    nearest, cost = (2, 1.0) if doubts else (4, 2.0)
    put_out, found_rank = in_loops(view, labels, K, nearest, cost, doubted)
    assert found_rank == (rank or nearest)
    found = without_strangers(view, labels, K, min_size=1, doubted=doubted, nearest=nearest, cost=cost)
    np.testing.assert_array_equal((found < 0) & (labels >= 0), put_out)
    assert 2 < put_out.sum() < 300


@pytest.mark.parametrize(('noise', 'shared'), [(0.9, 0.0), (0.5, 0.4)])
@pytest.mark.parametrize('seed', [0, 1])
def test_strangers_leave_and_people_stay(seed, noise, shared):
    features, truth = people_and_strangers(noise=noise, seed=seed, shared=shared)
    view = FeatureView(features, expected_k=K)
    labeler = AdaptiveConsensus()
    found = labeler(view)
    before = labels_for(view, labeler.sizes_[-1])
    left = (found < 0) & (before >= 0)
    assert left.sum() > 20
    assert (np.bincount(truth)[truth[left]] == 1).mean() > 0.7
    assert (scores(found, truth) > scores(before, truth) + 0.005).all()


def test_strangers_stay_where_a_view_says_so():
    features = people_and_strangers()[0]
    view = FeatureView(features, leave_out_strangers=False)
    labeler = AdaptiveConsensus()
    np.testing.assert_array_equal(labeler(view), labels_for(view, labeler.sizes_[-1]))
    assert not consensus(view).strangers.any()
    assert consensus(FeatureView(features)).strangers.any()


@pytest.mark.parametrize(('sizes', 'noise'), [([4] * 150, 0.8), ([20] * 40, 1.1), ([100] * 10, 1.1)])
def test_nobody_leaves_where_all_are_people(sizes, noise):
    rng = np.random.default_rng(0)
    truth = np.arange(len(sizes)).repeat(sizes)
    features = rng.normal(size=(len(sizes), 64))[truth] + noise * rng.normal(size=(len(truth), 64))
    np.testing.assert_array_equal(without_strangers(FeatureView(features), truth, K), truth)


def test_blocks_do_not_matter_and_samples_not_much(monkeypatch):
    features, truth = people_and_strangers()
    view = FeatureView(features, expected_k=K)
    labels = wrongly_clustered(view, truth)
    found = without_strangers(view, labels, K)
    monkeypatch.setattr(strangers, '_ROWS_PER_BLOCK', 7)
    np.testing.assert_array_equal(without_strangers(view, labels, K), found)
    monkeypatch.setattr(strangers, '_LEARNED_IMAGES', 150)
    assert (scores(without_strangers(view, labels, K), truth) > scores(labels, truth)).all()


def test_small_clusters_are_left_out():
    features, truth = people_and_strangers()
    view = FeatureView(features, expected_k=K)
    labels = wrongly_clustered(view, truth)
    by_least = [
        np.bincount(without_strangers(view, labels, K, min_size=least) + 1)[1:].min() for least in (1, 2, 5)
    ]
    assert by_least[0] == 1
    assert by_least[1] == 2
    assert by_least[2] >= 5


@pytest.mark.parametrize('labels', [np.zeros(40), np.full(40, -1), np.arange(40), np.arange(40) // 20])
def test_too_little_to_judge_by(labels):
    features = np.random.default_rng(0).normal(size=(40, 8))
    labels = labels.astype(np.int64)
    np.testing.assert_array_equal(without_strangers(FeatureView(features), labels, K, min_size=1), labels)


def test_threshold_needs_fifty_of_a_kind():
    rng = np.random.default_rng(0)
    others = rng.normal(size=100)
    assert stranger_threshold(rng.normal(size=49), others, 1.0) == -inf
    assert stranger_threshold(rng.normal(size=1000), others[:49], 1.0) == -inf
    assert stranger_threshold(rng.normal(size=1000), others, 1.0) > 1


@pytest.mark.parametrize('share', [0.2, 0.4, 0.8])
def test_threshold_between_two_crowds(share):
    rng = np.random.default_rng(3)
    count = round(4000 * share)
    own = np.concatenate([rng.normal(0, 1, count), rng.normal(4, 1, 4000 - count)])
    threshold = stranger_threshold(own, rng.normal(0, 1, 2000), 2.0)
    assert (own[:count] < threshold).mean() > 0.7
    assert (own[count:] < threshold).mean() < 0.03


@pytest.mark.parametrize('seed', [0, 1])
def test_correctors_leave_strangers_alone(monkeypatch, seed):
    features, truth = people_and_strangers(seed=seed)
    view = FeatureView(features, expected_k=K)
    given = JaccardDBSCAN(eps=0.5)(view)
    corrected = GLC()(view, given)
    monkeypatch.setattr(evidence, 'put_strangers_out', lambda view, labels, *others, **more: labels)
    assert (scores(corrected, truth) > scores(GLC()(view, given), truth) + 0.003).all()


def without_single_images(truth):
    """Perfect labels in which images of people who have no other are outliers."""
    return np.where(np.bincount(truth)[truth] > 1, truth, -1)


@pytest.mark.parametrize(('noise', 'shared', 'seed'), [(0.9, 0.0, 0), (0.9, 0.0, 1), (0.5, 0.4, 1)])
def test_perfect_labels_that_leave_strangers_alone_stay(noise, shared, seed):
    features, truth = people_and_strangers(noise=noise, seed=seed, shared=shared)
    view = FeatureView(features, expected_k=K)
    assert (scores(GLC()(view, without_single_images(truth)), truth) > 0.98).all()


@pytest.mark.parametrize('corrector', [MetricConsensus, GLC])
def test_proposals_that_lost_strangers_have_no_gaps(corrector):
    features, truth = people_and_strangers()
    view = FeatureView(features, expected_k=K)
    lost = consensus(view).strangers
    assert lost.sum() > 50
    proposal = corrector(min_cluster_size=5, careful=False)(view, wrongly_clustered(view, truth))
    assert (proposal[lost] == -1).all()
    assert np.bincount(proposal + 1)[1:].min() >= 5


def real_people_and_strangers(name, among):
    """All images of one person among so many, one image of all others."""
    features, cams, truth = real_images(name)
    _, first, truth = np.unique(truth, return_index=True, return_inverse=True)
    kept = np.union1d(first, np.flatnonzero(truth % among == 0))
    return FeatureView(features[kept], cams[kept], expected_k=K), truth[kept]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'least'),
    [('market1501_pass_vit_s', 0.9), ('market1501_weak_256d', 0.98), ('cuhk03_osnet_x0_25', 0.9)],
)
def test_perfect_labels_of_real_people_that_leave_nine_of_ten_alone(name, least):
    view, truth = real_people_and_strangers(name, 10)
    assert (scores(GLC()(view, without_single_images(truth)), truth) > least).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'gain'),
    [('market1501_pass_vit_s', 0.015), ('market1501_weak_256d', 0.1), ('cuhk03_osnet_x0_25', 0.1)],
)
def test_one_person_among_fifty_has_several_images(name, gain):
    view, truth = real_people_and_strangers(name, 50)
    labeler = AdaptiveConsensus()
    found = labeler(view)
    before = labels_for(view, labeler.sizes_[-1])
    assert (scores(found, truth) > scores(before, truth) + gain).all()
