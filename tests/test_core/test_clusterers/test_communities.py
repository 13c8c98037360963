"""Communities: the map equation against brute force, and what must not change the result."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.metrics import adjusted_rand_score

from glc.core.clusterers import (
    DBSCANClusterer,
    LeidenClusterer,
    MapEquationClusterer,
    knee_distance,
    leiden_communities,
    map_equation_communities,
)
from glc.core.clusterers.communities import CUT_RANGE, _upper_half
from glc.core.clusterers.dbscan import KNEE_RANGE
from glc.core.correctors import cluster_links
from glc.core.correctors.base import follow_labels, penalize_different_labels
from glc.core.evaluation import label_quality
from glc.core.labelers import JaccardDBSCAN, JaccardMapEquation, MultiScaleConsensus
from glc.core.labels import compact_labels
from glc.core.neighbors.jaccard import jaccard_distance
from tests.test_core.oracles import clustered_features, naive_jaccard


def codelength(weights, labels):
    """Two-level map equation in bits, float64, from its definition (Rosvall et al. 2009, equation 1)."""
    weights = weights / weights.sum()
    visits = weights.sum(axis=1)

    def entropy(shares):
        shares = np.asarray(shares)[np.asarray(shares) > 0]
        return -(shares / shares.sum() * np.log2(shares / shares.sum())).sum() if len(shares) else 0.0

    exits = [weights[labels == c][:, labels != c].sum() for c in np.unique(labels)]
    length = sum(exits) * entropy(exits)
    for c, leaving in zip(np.unique(labels), exits, strict=True):
        inside = [leaving, *visits[labels == c]]
        length += sum(inside) * entropy(inside)
    return length


@pytest.mark.slow
def test_map_equation_finds_the_shortest_code_of_a_small_graph():
    rng = np.random.default_rng(0)
    weights = 0.05 * rng.random((7, 7))
    for group in ([0, 1, 2], [3, 4], [5, 6]):
        weights[np.ix_(group, group)] += 1
    weights = np.triu(weights, 1) + np.triu(weights, 1).T
    partitions = (np.array(p) for p in itertools.product(range(4), repeat=7) if p[0] == 0)
    best = min(partitions, key=lambda labels: codelength(weights, labels))
    found = map_equation_communities(sparse.csr_array(weights))
    assert codelength(weights, found) == pytest.approx(codelength(weights, best))
    assert adjusted_rand_score(found, best) == 1


@pytest.mark.parametrize('nodes_per_block', [7, 40, 100])
def test_upper_half_is_that_of_the_permuted_graph(nodes_per_block, monkeypatch):
    monkeypatch.setattr('glc.core.clusterers.communities._NODES_PER_BLOCK', nodes_per_block)
    rng = np.random.default_rng(0)
    dense = np.triu(rng.random((40, 40)) * (rng.random((40, 40)) < 0.3), 1)
    images = rng.permutation(40)
    upper = _upper_half(sparse.csr_array(dense + dense.T), images)
    np.testing.assert_array_equal(upper.toarray(), np.triu((dense + dense.T)[images][:, images], 1))
    assert upper.has_sorted_indices


@pytest.mark.parametrize('search', [map_equation_communities, leiden_communities])
@pytest.mark.parametrize('size', [1, 4])
def test_graphs_without_edges_and_small_communities(search, size):
    empty = sparse.csr_array((6, 6))
    np.testing.assert_array_equal(search(empty, min_size=size), np.arange(6) if size == 1 else [-1] * 6)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_permuting_the_images_permutes_the_communities(seed):
    rng = np.random.default_rng(seed)
    identity = rng.integers(8, size=90)
    dense = np.where(identity[:, None] == identity, 0.2, 0.6) + 0.4 * rng.random((90, 90))
    dense = np.triu(dense, 1) + np.triu(dense, 1).T
    distance = sparse.csr_array(np.where(dense < 0.7, dense, 0))
    order = rng.permutation(90)
    clusterer = MapEquationClusterer('auto', 0.1, 3)
    labels, permuted = clusterer(distance), clusterer(distance[order][:, order])
    assert adjusted_rand_score(labels[order], permuted) == 1
    np.testing.assert_array_equal(labels[order] < 0, permuted < 0)


def test_auto_cut_is_the_tightest_that_leaves_few_over():
    tightest, loosest = CUT_RANGE
    distance = jaccard_distance(clustered_features(200, 20, 0.8, seed=1), (6, 12), 3, loosest)

    def left_over(cut: float) -> float:
        return np.mean(MapEquationClusterer(cut, 1.0, 4)(distance) < 0)

    assert left_over(loosest) < left_over(tightest)
    for share in np.linspace(left_over(loosest), left_over(tightest), 5):
        clusterer = MapEquationClusterer('auto', share, 4)
        assert np.mean(clusterer(distance) < 0) == left_over(clusterer.cut_) <= share
        cut = clusterer.cut_
        last_step = (loosest - tightest) / 64
        assert cut == tightest or left_over(cut - last_step) > share
    none_left = MapEquationClusterer('auto', 0.0, 4)
    none_left(distance)
    assert left_over(loosest) > 0
    assert none_left.cut_ == loosest


@pytest.mark.parametrize('cut', [0, 1, 'knee'])
def test_bad_cut(cut):
    with pytest.raises(ValueError, match="'cut' parameter"):
        MultiScaleConsensus(cut=cut)(clustered_features(20, 2))


def test_several_scales_are_the_mean_of_their_dense_distances():
    features = clustered_features(80, 6, 0.3, seed=5)
    expected = np.mean([naive_jaccard(features, k1, 4) for k1 in (6, 10, 25)], axis=0)
    distance = jaccard_distance(features, (6, 10, 25), 4)
    dense = np.where(distance.toarray() > 0, distance.toarray(), 1)
    np.testing.assert_allclose(dense, expected, atol=1e-6)


def test_knee_of_the_sorted_distances():
    heights = np.concatenate([np.linspace(0.1, 0.4, 40), np.linspace(0.41, 0.95, 10)])
    distance = sparse.diags_array(heights, format='csr')  # every image's first neighbor is itself
    chord = np.linspace(heights[0], heights[-1], 50)
    assert knee_distance(distance, 1) == pytest.approx(heights[np.argmax(chord - heights)])
    assert knee_distance(distance, 2) == KNEE_RANGE[1]  # nobody has a second neighbor: all 1 apart


def test_auto_eps_is_kept_and_used():
    labeler = JaccardDBSCAN(eps='auto', k1=12, k2=3)
    features = clustered_features(120, 8, 0.2, seed=2)
    labels = labeler(features)
    assert KNEE_RANGE[0] <= labeler.eps_ <= KNEE_RANGE[1]
    np.testing.assert_array_equal(labels, JaccardDBSCAN(eps=labeler.eps_, k1=12, k2=3)(features))
    with pytest.raises(ValueError, match=r"or a str among {'auto'}. Got 'knee'"):
        JaccardDBSCAN(eps='knee')(features)


@pytest.mark.parametrize(
    'labeler', [JaccardMapEquation(k1=12, k2=3), MultiScaleConsensus(k1=(6, 12), k2=3)], ids=['one', 'many']
)
@pytest.mark.parametrize(
    'features',
    [np.ones((30, 4)), np.eye(30), np.zeros((20, 4)), np.ones((1, 3)), np.eye(3)],
    ids=['duplicates', 'all outliers', 'zero vectors', 'one image', 'fewer than k'],
)
def test_degenerate_features(labeler, features):
    labels = labeler(features)
    assert labels.shape == (len(features),)
    assert set(np.unique(labels)) <= set(range(-1, len(features)))


def test_scaled_and_rotated_features_give_the_same_labels():
    features = clustered_features(150, 10, 0.3, seed=3)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(features.shape[1],) * 2))[0]
    labels = MultiScaleConsensus(k1=(6, 12), k2=3)(features)
    assert adjusted_rand_score(labels, MultiScaleConsensus(k1=(6, 12), k2=3)(7 * features @ rotation)) == 1
    assert label_quality(labels, np.arange(150) % 10)['pairwise_f'] >= 0


def test_undecided_graphs_follow_the_labels_and_clear_ones_do_not():
    labels = np.repeat([0, 1], 4)
    inside = np.kron(np.eye(2), np.ones((4, 4)))
    for between, weight, clusters in ((0.45, 0.0, 1), (0.45, 0.8, 2), (1.0, 0.05, 1), (0.0, 0.05, 2)):
        distance = sparse.csr_array(1 - 0.9 * np.maximum(inside, between))
        parted = penalize_different_labels(distance, labels, weight)
        np.testing.assert_allclose(1 - parted.toarray(), 0.9 * np.where(inside, 1, between * (1 - weight)))
        assert len(np.unique(MapEquationClusterer(0.9, min_cluster_size=1)(parted))) == clusters
    np.testing.assert_array_equal(
        penalize_different_labels(distance, np.full(8, -1), 0.5).toarray(), distance.toarray()
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-2, 3)), min_size=1, max_size=30), st.floats(0, 1))
def test_images_left_over_follow_their_label(pairs, share):
    found, labels = (np.array(side) for side in zip(*pairs, strict=True))
    clusters = compact_labels(found)
    expected = clusters.copy()
    for image in np.flatnonzero((clusters < 0) & (labels >= 0)):
        others = clusters[labels == labels[image]]
        counts = np.bincount(others[others >= 0], minlength=1)
        if counts.max() > share * len(others):
            expected[image] = counts.argmax()
    np.testing.assert_array_equal(follow_labels(clusters, labels, share), expected)


def broken(value):
    matrix = sparse.csr_array(np.kron(np.eye(2), np.full((3, 3), 0.5)))
    matrix.data[[4, 7]] = value
    return matrix


CALLS = {
    'distance': [DBSCANClusterer(), LeidenClusterer(), lambda distance: knee_distance(distance, 2)],
    'similarity': [map_equation_communities, leiden_communities],
    'probabilities': [cluster_links],
}
PAIRS = [(name, call) for name, calls in CALLS.items() for call in calls]


@pytest.mark.parametrize(('name', 'call'), PAIRS)
@pytest.mark.parametrize('value', [np.nan, np.inf, -0.1, 1.1])
def test_entries_that_are_no_distances_are_counted_and_located(name, call, value):
    if name == 'similarity' and value == 1.1:
        return
    with pytest.raises(ValueError, match=rf'{name}: 2 of 18 entries are .* the first is .* at \(1, 1\)'):
        call(broken(value))


@pytest.mark.parametrize(('name', 'call'), PAIRS)
def test_what_is_no_square_sparse_matrix_is_refused(name, call):
    with pytest.raises(TypeError, match=f'{name} must be a sparse matrix .* got ndarray'):
        call(np.eye(3))
    for shape in ((3, 4), (0, 0)):
        with pytest.raises(ValueError, match=f'{name} must be a sparse matrix'):
            call(sparse.csr_array(shape))


@pytest.mark.parametrize('kind', [sparse.csr_matrix, sparse.coo_array, sparse.csc_array, sparse.lil_array])
def test_any_sparse_matrix_serves(kind):
    blocks = np.kron(np.eye(2), np.full((4, 4), 0.2))
    assert DBSCANClusterer(eps=0.5)(kind(blocks)).tolist() == [0] * 4 + [1] * 4
    assert map_equation_communities(kind(blocks)).tolist() == [0] * 4 + [1] * 4
