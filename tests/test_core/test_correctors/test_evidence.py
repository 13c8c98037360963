"""Careful changes of labels: their parts against plain loops, and what they do to right and to noisy labels."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import adjusted_rand_score, average_precision_score

from glc import FeatureView
from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.correctors import GLC, ConsensusLinking, MetricConsensus, evidence
from glc.core.correctors.base import penalize_different_labels
from glc.core.correctors.evidence import (
    accept_changes,
    find_parts,
    join_halves,
    leave_far,
    similarities,
    take_in,
    teaching,
)
from glc.core.correctors.linking import LinkScorer
from glc.core.correctors.whitening import within_class_whitening
from glc.core.evaluation import label_quality
from glc.core.labelers import JaccardDBSCAN
from glc.core.labelers.adaptive import consensus, consensus_distance, scales_for
from glc.core.labels import as_unit_features, compact_labels
from glc.core.neighbors.jaccard import mean_jaccard_distance
from glc.core.timing import Timings
from tests.test_core.foreign_device import FOREIGN, ForeignDevice
from tests.test_core.oracles import people, seen_by_cameras
from tests.test_core.test_labelers.test_adaptive import real_images, scores
from tools.benchmarks._data import planted_noise

SEEDS = st.integers(0, 10_000)


def random_case(seed, num_images=40, num_labels=6, share=0.08):
    """Unit features, symmetric links and labels that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((num_images, num_images)) < share, rng.uniform(0.1, 1, (num_images,) * 2), 0)
    dense = np.triu(dense, 1) + np.triu(dense, 1).T
    labels = compact_labels(rng.integers(-1, num_labels, size=num_images))
    return as_unit_features(rng.normal(size=(num_images, 5))), sparse.csr_array(dense), labels


def components(links, labels):
    """Sets of images of one label that links join, by union-find."""
    parent = list(range(len(labels)))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(len(labels)):
        for j in range(len(labels)):
            if links[i, j] > 0 and labels[i] == labels[j] >= 0:
                parent[root(i)] = root(j)
    groups = {}
    for i in range(len(labels)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_parts_equal_the_plain_definition(seed):
    features, links, labels = random_case(seed)
    x, groups = features.numpy().astype(float), components(links.toarray(), labels)
    mean = [x[group].mean(0) / np.linalg.norm(x[group].mean(0)) for group in groups]
    parts = find_parts(features, links, labels)
    found = {}
    for number, label, size, farness in zip(
        parts.number, parts.label, parts.size, parts.farness, strict=True
    ):
        members = np.flatnonzero(parts.of_image == number).tolist()
        assert members in groups
        assert (set(labels[members]), len(members)) == ({label}, size)
        found[members[0]] = farness
    main = {}
    for label in range(labels.max() + 1):
        own = [g for g, group in enumerate(groups) if labels[group[0]] == label]
        left = [g for g in own if groups[g][0] not in found]
        assert len(left) == 1  # the main part
        assert len(groups[left[0]]) == max(len(groups[g]) for g in own)
        main[label] = left[0]
    for g, group in enumerate(groups):
        if group[0] in found:
            own = mean[g] @ mean[main[labels[group[0]]]]
            nearer = [mean[g] @ mean[m] > own + 1e-6 for m in main.values()]
            assert found[group[0]] == pytest.approx(np.mean(nearer))
    assert len(found) == sum(labels[group[0]] >= 0 for group in groups) - len(main)


@settings(deadline=None, max_examples=50)
@given(
    farness=st.lists(st.sampled_from(np.linspace(0, 1, 21).tolist()), max_size=60),
    count=st.integers(1, 2000),
)
def test_the_threshold_of_random_parts_is_the_best(farness, count):
    values = np.array(farness)
    chosen = evidence._random(values, count)
    random = 2 * sum(value > 0.5 for value in farness)

    def benefit(threshold):
        return 2 * random * (1 - max(threshold, 0)) - sum(value > threshold for value in farness)

    if random < 0.05 * count or not farness:
        assert not chosen.any()
        return
    candidates = [-1.0, *sorted(set(farness))]
    best = max(benefit(threshold) for threshold in candidates)
    if best <= 0:
        assert not chosen.any()
        return
    kept = values[~chosen]
    assert benefit(kept.max() if len(kept) else -1.0) == pytest.approx(best, abs=1e-6)
    assert not chosen.any() or values[chosen].min() > (kept.max() if len(kept) else -1)


def test_random_parts_among_many_near_ones():
    rng = np.random.default_rng(0)
    farness = np.concatenate([rng.uniform(0, 0.05, 300), rng.random(100)])
    chosen = evidence._random(farness, 1000)
    assert chosen[300:].mean() > 0.85
    assert chosen[:300].mean() < 0.1
    assert not evidence._random(
        farness, 10_000
    ).any()  # few among so many: careful annotation has such images too
    assert not evidence._random(rng.uniform(0, 0.05, 300), 1000).any()
    assert evidence._random(np.zeros(0), 0).tolist() == []


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, share=st.floats(0.02, 0.3))
def test_outliers_are_taken_in_as_in_the_plain_loop(seed, share):
    _, links, labels = random_case(seed, share=share, num_labels=3)
    labels[np.random.default_rng(seed).random(40) < 0.4] = -1
    labels = compact_labels(labels)
    candidates = np.random.default_rng(seed + 1).random(40) < 0.7
    dense, expected = links.toarray(), labels.copy()
    for _ in range(3):
        before = expected.copy()
        for i in np.flatnonzero((before < 0) & candidates):
            votes = Counter()
            for j in np.flatnonzero(before >= 0):
                votes[before[j]] += dense[i, j]
            winner, weight = votes.most_common(1)[0] if votes else (-1, 0)
            if weight > 0.5 * dense[i].sum():
                expected[i] = winner
    given = labels.copy()
    np.testing.assert_array_equal(take_in(links, labels, candidates), expected)
    np.testing.assert_array_equal(labels, given)


def test_a_chain_of_outliers_is_taken_in_for_three_links():
    dense = np.diag([3.0, 2, 1.6, 1.3, 1.1], 1)
    links = sparse.csr_array(dense + dense.T)
    labels, everyone = np.array([0, -1, -1, -1, -1, -1]), np.ones(6, bool)
    np.testing.assert_array_equal(take_in(links, labels, everyone), [0, 0, 0, 0, -1, -1])


@pytest.mark.slow
def test_labels_of_the_consensus_itself_stay():
    """Its outliers are the images that it leaves out; nothing else knows better."""
    features, cams, _ = people(np.full(40, 8), 1.0, 3)
    view = FeatureView(features, cams)
    labels = consensus(view).labels
    assert (labels < 0).any()
    np.testing.assert_array_equal(accept_changes(view, labels, labels), labels)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, share=st.floats(0.02, 0.4))
def test_densities_equal_the_plain_loop(seed, share):
    _, links, labels = random_case(seed, share=share)
    dense = links.toarray()
    members = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]

    def within(own):
        pairs = [dense[i, j] for i in own for j in own if i != j]
        return np.mean(pairs) if pairs else 0.0

    expected = {}
    for first in range(len(members)):
        for second in range(first + 1, len(members)):
            ends = members[first], members[second]
            between = np.mean([dense[i, j] for i in ends[0] for j in ends[1]])
            scale = within(ends[0]) * within(ends[1])
            if between > 0 and scale > 0:
                expected[first, second] = between / scale**0.5
    found = evidence._densities(links, labels)
    assert {(a, b): d for a, b, d in zip(*found, strict=True)} == pytest.approx(expected)


def test_halves_are_as_dense_as_two_halves():
    """A label whose pairs are all linked has halves of density 1; labels of three images have no halves."""
    labels = np.array([0] * 8 + [1] * 5 + [2] * 3 + [-1] * 2)
    links = sparse.csr_array((labels[:, None] == labels) & (labels >= 0) & ~np.eye(18, dtype=bool)).astype(
        float
    )
    np.testing.assert_allclose(
        evidence._densities_of_halves(links, labels, np.bincount(labels[:16]), 0), [1, 1]
    )
    unlinked = sparse.csr_array((18, 18))
    np.testing.assert_array_equal(
        evidence._densities_of_halves(unlinked, labels, np.bincount(labels[:16]), 0), [0, 0]
    )
    few = np.array([0, 0, 0, 1, 1, -1])
    assert len(evidence._densities_of_halves(sparse.csr_array((6, 6)), few, np.array([3, 2]), 0)) == 0


def test_similarities_are_those_of_other_images():
    distance = sparse.csr_array(np.array([[1e-30, 0.2, 0], [0.2, 1e-30, 0.7], [0, 0.7, 1e-30]]))
    before = distance.toarray()
    links = similarities(distance)
    np.testing.assert_allclose(links.toarray(), [[0, 0.8, 0], [0.8, 0, 0.3], [0, 0.3, 0]])
    assert links.nnz == 4
    np.testing.assert_array_equal(distance.toarray(), before)


@pytest.fixture(scope='module')
def easy():
    """A view of 40 people with 12 images each, its links, and their identities."""
    features, _, truth = people(np.full(40, 12), noise=0.6)
    view = FeatureView(features)
    return view, similarities(consensus_distance(view)), truth


def test_images_of_others_leave(easy):
    view, links, truth = easy
    rng = np.random.default_rng(0)
    strangers = rng.permutation(len(truth))[:60]
    labels = truth.copy()
    labels[strangers] = (truth[strangers] + rng.integers(1, 40, size=60)) % 40
    left = leave_far(view.centered, links, labels)
    assert (left[strangers] < 0).mean() > 0.8
    stayed = np.delete(np.arange(len(truth)), strangers)
    assert (left[stayed] < 0).mean() < 0.02
    merged = truth // 2  # whole people leave as clusters of their own
    left = leave_far(view.centered, links, merged)
    assert adjusted_rand_score(truth, left) > adjusted_rand_score(truth, merged) + 0.05
    np.testing.assert_array_equal(np.unique(left[left >= 0]), np.arange(left.max() + 1))
    np.testing.assert_array_equal(leave_far(view.centered, links, truth), truth)
    nobody = np.full(len(truth), -1)
    np.testing.assert_array_equal(leave_far(view.centered, links, nobody), nobody)


def test_halves_are_joined_and_people_are_not(easy):
    _, links, truth = easy
    split = planted_noise(truth, 'split', 0.5, seed=1)
    split[::17] = -1
    joined = join_halves(links, split)
    labeled = split >= 0
    np.testing.assert_array_equal(joined < 0, ~labeled)
    assert adjusted_rand_score(truth[labeled], joined[labeled]) > 0.97
    assert adjusted_rand_score(truth[labeled], split[labeled]) < 0.9
    assert adjusted_rand_score(truth, join_halves(links, truth)) == 1
    np.testing.assert_array_equal(join_halves(sparse.csr_array(links.shape), truth), truth)
    one = np.where(truth < 1, 0, -1)
    np.testing.assert_array_equal(join_halves(links, one), one)


def test_large_unions_are_not_made(easy):
    """Of halves that are densely linked, those stay apart that are larger together than 2.2 times a typical label."""
    _, links, truth = easy
    large = np.where(truth < 4, 0, truth - 3)  # four people: 48 images
    labels = np.where(large == 0, np.arange(len(truth)) % 2 * 40, large)
    joined = join_halves(links, compact_labels(labels))
    assert len(np.unique(joined)) == len(np.unique(labels))


@pytest.mark.slow
def test_right_labels_teach_more_than_random_ones():
    features, _, truth = people(np.full(40, 12), noise=0.8, modes=2, mode_distance=1.5)
    x = as_unit_features(features)
    wrong = np.random.default_rng(0).permutation(truth)
    assert teaching(x, truth, wrong)[0] > 3
    assert sum(teaching(x, truth, wrong)) > 2
    assert teaching(x, truth, truth) == (0, 0)
    home, away = teaching(x, truth, wrong)
    np.testing.assert_allclose(teaching(x, wrong, truth), (-away, -home))
    assert (home, away) == teaching(x, truth, wrong) != teaching(x, truth, wrong, seed=1)
    for few in (np.where(truth < 3, truth, -1), np.arange(len(truth))):
        assert teaching(x, few, truth) == (-np.inf, -np.inf)
    for none in (np.full(len(truth), -1), np.arange(len(truth))):
        assert teaching(x, truth, none) == (-np.inf, 0)


def test_average_precisions_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, labels = as_unit_features(rng.normal(size=(50, 6))), rng.integers(8, size=50)
    queries = rng.permutation(50)[:20]
    similarity = (x @ x.T).numpy()
    expected = []
    for query in queries:
        others = np.arange(50) != query
        expected.append(
            average_precision_score(labels[others] == labels[query], similarity[query, others])
            if (labels[others] == labels[query]).any()
            else 0
        )
    np.testing.assert_allclose(evidence._average_precisions(x, labels, queries), expected, atol=1e-6)


def hard_modes(seed):
    """A view of people of two modes of appearance, up to as far apart as they are from others, and identities."""
    sizes = np.random.default_rng(5).integers(8, 20, size=60)
    features, _, truth = people(sizes, noise=0.8, modes=2, mode_distance=1.0, seed=seed)
    return FeatureView(features), truth


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 1])
def test_made_up_labels_that_know_more_stay(seed):
    view, truth = hard_modes(seed)
    graph = consensus(view).labels
    assert scores(graph, truth).max() < 0.95
    assert scores(accept_changes(view, truth, graph), truth).min() >= 0.995
    for kind in ('merged', 'split', 'outliers'):
        for share in (0.05, 0.4):
            noisy = planted_noise(truth, kind, share, seed=1)
            changed = accept_changes(view, noisy, graph)
            assert (scores(changed, truth) >= scores(noisy, truth) - 0.003).all()
            if share == 0.4:
                assert (scores(changed, truth) >= scores(noisy, truth) + 0.03).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('unsupported', 'scores_of_teaching', 'stay'),
    [
        (0.0, (-2.1, 0.0), False),
        (0.0, (-1.9, 0.0), True),
        (0.0, (-1.9, -1.5), True),
        (0.0, (-1.9, -1.7), False),
        (1.0, (-1.9, 0.0), False),
        (1.0, (0.6, 0.6), True),
        (1.0, (2.0, -1.1), False),
    ],
)
def test_labels_give_way_where_they_teach_less(monkeypatch, unsupported, scores_of_teaching, stay):
    """Where a share of the images is joined against the graph, teaching nearly as well is enough."""
    view, truth = hard_modes(0)
    proposal = truth // 3 * 5
    monkeypatch.setattr(evidence, 'teaching', lambda *args: scores_of_teaching)
    monkeypatch.setattr(evidence, '_UNSUPPORTED_SHARE', unsupported)
    np.testing.assert_array_equal(accept_changes(view, truth, proposal), truth if stay else truth // 3)


@pytest.mark.slow
def test_merged_people_are_no_other_idea(monkeypatch):
    """DBSCAN joins most people here to others, so the graph does not hold many images with most of their label."""
    features, cams, truth = real_images('market1501_pass_vit_s')
    kept = np.concatenate(
        [
            np.random.default_rng(person).permutation(np.flatnonzero(truth == person))[:3]
            for person in np.unique(truth)
        ]
    )
    view, truth = FeatureView(features[kept], cams[kept]), truth[kept]
    labels, graph = JaccardDBSCAN(eps=0.6)(view), consensus(view).labels
    monkeypatch.setattr(evidence, '_OTHER_IDEA', 0.5)
    assert find_parts(view.centered, similarities(consensus_distance(view)), labels).size.sum() > 0.5 * len(
        labels
    )
    assert scores(labels, truth).max() < 0.5
    assert scores(graph, truth).min() > 0.8
    np.testing.assert_array_equal(accept_changes(view, labels, graph), graph)


@pytest.mark.slow
@pytest.mark.parametrize('noise', [1.1, 1.2, 1.3])
def test_perfect_labels_of_long_tailed_people_stay(noise):
    """The graph merges people here, and every image hangs together in it: only what labels teach speaks for them."""
    sizes = np.random.default_rng(1).geometric(0.08, size=70) + 2
    features, _, truth = people(sizes, noise)
    view = FeatureView(features)
    graph = consensus(view).labels
    assert scores(graph, truth).max() < 0.95
    assert scores(accept_changes(view, truth, graph), truth).min() >= 0.995


@pytest.mark.slow
@pytest.mark.parametrize('share', [0.0, 0.1, 0.3])
def test_a_few_people_who_look_like_others_stay(share):
    """Two whole people are linked as densely as halves here. They are few, and larger together than halves are."""
    features, _, looks = people(np.repeat([12, 6], [1, 198]), 0.7)
    truth = np.unique(looks, return_inverse=True)[1]
    truth[np.flatnonzero(looks == 0)[::2]] = 199
    view = FeatureView(features)
    links = similarities(consensus_distance(view))
    halved = (np.arange(200) >= 1) & (np.arange(200) < 1 + 198 * share)
    labels = compact_labels(truth + 200 * (halved[truth] & (np.random.default_rng(0).random(1200) < 0.5)))
    joined = join_halves(links, labels)
    for person in (0, 199):
        assert len(np.unique(joined[truth == person])) == 1
        np.testing.assert_array_equal(joined == joined[truth == person][0], truth == person)
    again = scores(joined, truth) - scores(labels, truth)
    assert (again >= 0.5 * (1 - scores(labels, truth))).all()  # at least half of the halves


@pytest.mark.slow
def test_labels_of_the_graph_stay(monkeypatch):
    """They join nothing that the graph does not, but a proposal has little to add to them."""
    view, _ = hard_modes(0)
    labels = consensus(view).labels
    proposal = np.zeros(len(labels), np.int64)
    changed = accept_changes(view, labels, proposal)
    assert label_quality(changed, labels)['pairwise_f'] > 0.95
    monkeypatch.setattr(evidence, '_SAME', 1.01)
    np.testing.assert_array_equal(accept_changes(view, labels, proposal), proposal)


@pytest.mark.slow
@pytest.mark.parametrize('count', [1, 2, 5, 30])
@pytest.mark.parametrize('fill', [0.0, 1.0])
def test_degenerate_features(count, fill):
    view = FeatureView(np.full((count, 4), fill))
    proposal = np.zeros(count, np.int64)
    for labels in (np.arange(count), np.zeros(count, np.int64), np.arange(count) % 2, np.full(count, -1)):
        changed = accept_changes(view, labels, proposal)
        assert changed.shape == (count,)
        assert compact_labels(changed).tolist() == changed.tolist()


@pytest.mark.slow
def test_evidence_on_another_device(easy):
    view, links, truth = easy
    noisy = planted_noise(planted_noise(truth, 'merged', 0.4, 0), 'split', 0.4, 1)
    noisy = compact_labels(noisy)
    expected = find_parts(view.centered, links, noisy)
    with ForeignDevice():
        moved = view.to(FOREIGN)
        found = find_parts(moved.centered, links, noisy)
        np.testing.assert_array_equal(found.number, expected.number)
        np.testing.assert_allclose(found.farness, expected.farness, atol=0.03)
        np.testing.assert_array_equal(
            leave_far(moved.centered, links, noisy), leave_far(view.centered, links, noisy)
        )
        np.testing.assert_allclose(
            teaching(moved.centered, truth, noisy), teaching(view.centered, truth, noisy), atol=1e-3
        )
        np.testing.assert_array_equal(accept_changes(moved, noisy, truth), accept_changes(view, noisy, truth))


NETWORK = {'hidden_dim': 16, 'epochs': 1, 'subgraphs_per_epoch': 1, 'steps_per_subgraph': 5, 'device': 'cpu'}


@pytest.mark.slow
@pytest.mark.parametrize(
    'make', [MetricConsensus, lambda **options: GLC(k=12, **NETWORK, **options)], ids=['metric', 'glc']
)
def test_careful_correctors_choose_by_the_evidence(make):
    view, truth = hard_modes(0)
    labels = planted_noise(truth, 'outliers', 0.1, seed=0)
    anew, careful = (make(careful=value)(view, labels) for value in (False, True))
    np.testing.assert_array_equal(careful, accept_changes(view, compact_labels(labels), anew))
    assert scores(careful, truth).min() > scores(anew, truth).max() + 0.02
    corrector = make()
    np.testing.assert_array_equal(corrector(view, labels), careful)  # the default
    assert corrector.timings_['evidence'] > 0
    np.testing.assert_array_equal(corrector.fit(view, labels=labels).predict(view, labels=labels), anew)
    with pytest.raises(ValueError, match='careful'):
        make(careful=2)(view, labels)


@pytest.mark.slow
def test_consensus_linking_weighs_the_graph_of_the_consensus():
    features, cams, truth = seen_by_cameras()
    view = FeatureView(features, cams)
    glc = GLC(k=12, **NETWORK).fit(view, labels=truth)
    scorer = LinkScorer(glc.network_, glc.training, view.centered, view.neighbors(12))
    linking, timings = ConsensusLinking(link_weight=0.3, label_weight=0.9, min_cluster_size=3), Timings()
    clusterer = RelativeMapEquationClusterer(min_cluster_size=3)
    k1, k2 = scales_for(consensus(view).sizes[-1])
    distance = view.distance(k1, k2, clusterer.reach)
    weighted = scorer.weighted(distance, 0.3, relative=True)
    np.testing.assert_allclose(np.median(1 - weighted.data), np.median(1 - distance.data), atol=0.02)
    rows, cols = sparse.triu(distance, k=1).nonzero()
    links = (scorer.probabilities(rows, cols) + scorer.probabilities(cols, rows)) / 2
    expected = (1 - distance[rows, cols]) * (links / np.median(links)) ** 0.3
    np.testing.assert_allclose(1 - weighted[rows, cols], np.minimum(expected, 1), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(linking(view, scorer, None, 0, timings), clusterer(weighted))
    halves = 2 * truth + np.arange(len(truth)) % 2
    metric = within_class_whitening(view.centered, torch.from_numpy(halves), 0.3)
    learned = view.with_features((view.centered - view.centered.mean(0)) @ metric)
    graphs = [(seen.centered, graph) for seen in (view, learned) for graph in seen.graphs(k1[-1])]
    both = scorer.weighted(mean_jaccard_distance(graphs, k1, k2, clusterer.reach), 0.3, relative=True)
    penalized = penalize_different_labels(both, halves, 0.9)
    leaning = linking(view, scorer, halves, 0, timings)
    np.testing.assert_array_equal(leaning, clusterer(penalized))
    assert (leaning != linking(view, scorer, None, 0, timings)).any()
    assert {'links', 'cluster'} <= set(timings)
    for wrong in ({'label_weight': 1.5}, {'link_weight': -0.1}, {'min_cluster_size': 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ConsensusLinking(**wrong)


REAL = ['market1501_pass_vit_s', 'market1501_weak_256d', 'cuhk03_osnet_x0_25']


@pytest.mark.slow
@pytest.mark.parametrize('name', REAL)
def test_on_real_features(name):
    """Labels of DBSCAN give way and gain. True labels stay, and noisy ones get no worse, of the one share and other."""
    features, cams, pids = real_images(name)
    chosen = np.isin(pids, np.unique(pids)[::3])
    truth = compact_labels(pids[chosen])
    view = FeatureView(features[chosen], cams[chosen])
    dbscan = JaccardDBSCAN()(view)
    corrected = MetricConsensus()(view, dbscan)
    assert (scores(corrected, truth) >= scores(dbscan, truth) + 0.01).all()
    graph = consensus(view).labels
    assert scores(accept_changes(view, truth, graph), truth).min() >= 0.995
    for kind in ('merged', 'split', 'outliers'):
        for share in (0.05, 0.4):
            noisy = compact_labels(planted_noise(truth, kind, share, seed=1))
            changed = accept_changes(view, noisy, graph)
            assert (scores(changed, truth) >= scores(noisy, truth) - 0.003).all(), f'{kind} {share}'
