import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score

from glc.core.neighbors.jaccard import as_scales, encoding_distance, jaccard_distance, reciprocal_encodings
from glc.core.neighbors.jaccard_numba import averaged_rows
from glc.core.neighbors.knn import KNNGraph, knn_graph
from tests.test_core.oracles import clustered_features, naive_jaccard
from tests.utils import shared_data


def as_dense(distance):
    """Dense matrix with 1 at absent entries; exact for ``max_distance=1``."""
    dense = np.ones(distance.shape)
    rows = np.repeat(np.arange(distance.shape[0]), np.diff(distance.indptr))
    dense[rows, distance.indices] = distance.data
    return dense


@pytest.mark.slow
@pytest.mark.parametrize(
    ('num_images', 'k1', 'k2', 'noise'),
    [
        (100, 30, 6, 0.15),
        (80, 10, 3, 0.3),
        (70, 5, 2, 0.2),
        (60, 7, 1, 0.5),
        (12, 30, 6, 0.3),
        (60, 1, 1, 0.2),
    ],
)
def test_equals_the_dense_definition(num_images, k1, k2, noise):
    features = clustered_features(num_images, 6, noise, seed=k1)
    distance = jaccard_distance(features, k1, k2)
    np.testing.assert_allclose(as_dense(distance), naive_jaccard(features, k1, k2), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('k2', [2, [2, 4, 6], (1, 1, 1)])
def test_several_scales_give_the_mean_each_with_its_k2(k2):
    features = clustered_features(70, 5, 0.3)
    each = k2 if isinstance(k2, list | tuple) else [k2] * 3
    expected = [naive_jaccard(features, *scale) for scale in zip((4, 9, 15), each, strict=True)]
    distance = jaccard_distance(features, (4, 9, 15), k2)
    np.testing.assert_allclose(as_dense(distance), np.mean(expected, axis=0), atol=1e-6)


def test_scales():
    assert as_scales(5, 3) == as_scales([5], (3,)) == ((5, 3),)
    assert as_scales((5, 9), 3) == as_scales(np.array([5, 9]), [3, 3]) == ((5, 3), (9, 3))
    assert as_scales([5, 9], [4, 2]) == ((5, 4), (9, 2))
    for k1, k2 in (((5, 9), (1, 2, 3)), (5, (1, 2))):
        with pytest.raises(ValueError, match='as many as k1'):
            as_scales(k1, k2)
    for k1, k2 in (((5, 9), (6, 2)), ((3, 9), 4)):
        with pytest.raises(ValueError, match='1 <= k2 <= k1'):
            as_scales(k1, k2)
    for k1, k2 in (((), ()), (5.0, 2), (5, 2.0), ((5, 9), (2.0, 3)), ((5, 9), (2, 0))):
        with pytest.raises(ValueError, match=r"The 'k[12]' parameter of the Jaccard distance must be an int"):
            as_scales(k1, k2)


@pytest.mark.parametrize('max_distance', [0.0, 0.3, 0.6])
def test_threshold_keeps_exactly_the_small_distances(max_distance):
    features = clustered_features(90, 5, seed=1)
    everything = jaccard_distance(features, 12, 4)
    kept = jaccard_distance(features, 12, 4, max_distance)
    everything.data[everything.data > max(max_distance, 1e-30)] = 0
    everything.eliminate_zeros()
    np.testing.assert_array_equal(kept.toarray(), everything.toarray())
    np.testing.assert_array_equal(kept.diagonal() > 0, True)


def test_symmetric_positive_and_the_same_for_any_block(monkeypatch):
    features = clustered_features(110, 6, seed=4)
    distance = jaccard_distance(features, 15, 4, 0.7)
    assert distance.dtype == np.float32
    assert (distance != distance.T).nnz == 0
    assert distance.data.min() > 0
    monkeypatch.setattr('glc.core.neighbors.jaccard_numba._ROWS_PER_BLOCK', 7)
    monkeypatch.setattr('glc.core.neighbors.jaccard_numba._PART_BYTES', 1000)
    monkeypatch.setattr('glc.core.neighbors.jaccard._ROWS_PER_INVERSION', 31)
    np.testing.assert_array_equal(distance.toarray(), jaccard_distance(features, 15, 4, 0.7).toarray())


@pytest.mark.slow
@pytest.mark.parametrize('max_distance', [0.3, 0.5, 0.7, 0.75, 0.9])
def test_pairs_that_only_some_matrices_join_are_not_lost(max_distance):
    """Far pairs are given up before the last matrices are looked at, which must not show."""
    features = [clustered_features(90, 6, 0.4, seed=seed) for seed in (0, 1)]
    scales = ((3, 1), (6, 2), (12, 3), (20, 5))
    encodings = [v for x in features for k1, k2 in scales for v in reciprocal_encodings(x, k1, k2)]
    expected = np.zeros((90, 90))
    for encoding in encodings:
        v = encoding.toarray().astype(np.float64)
        shared = np.minimum(v[:, None], v[None]).sum(axis=2)
        expected += (1 - shared / (2 - shared)) / len(encodings)
    far = expected > max_distance
    assert 0 < far.mean() < 1
    np.testing.assert_allclose(
        as_dense(encoding_distance(encodings, max_distance)), np.where(far, 1, expected), atol=1e-6
    )


def test_averages_hold_no_zeros():
    """A weight too small for float32 would be met again and again where pairs are summed."""
    ranks = np.array([[0, 1], [1, 0]], np.int32)
    starts, columns, values = np.array([0, 2, 3]), np.array([0, 1, 1]), np.array([1.0, 1e-50, 1.0])
    sizes, found, means = averaged_rows(ranks, 1, starts, columns, values, 0, 2)
    assert (sizes.tolist(), found.tolist(), means.tolist()) == ([1, 1], [0, 1], [1, 1])


def test_a_given_graph_is_used():
    features = clustered_features(60, 4)
    graph = knn_graph(features, 25)
    expected = jaccard_distance(features, 10, 3)
    np.testing.assert_array_equal(
        jaccard_distance(features, 10, 3, graph=graph).toarray(), expected.toarray()
    )
    alone = KNNGraph(np.arange(60)[:, None].repeat(10, axis=1), np.ones((60, 10), np.float32))
    assert jaccard_distance(features, 10, 3, graph=alone).nnz == 60


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_rotation_and_permutation_change_nothing(seed):
    rng = np.random.default_rng(seed)
    features = clustered_features(60, 5, seed=seed).astype(np.float64)
    expected = as_dense(jaccard_distance(features, 10, 3))
    rotation = np.linalg.qr(rng.normal(size=(24, 24)))[0]
    np.testing.assert_allclose(as_dense(jaccard_distance(features @ rotation, 10, 3)), expected, atol=1e-5)
    order = rng.permutation(60)
    permuted = as_dense(jaccard_distance(features[order], 10, 3))
    np.testing.assert_allclose(permuted, expected[np.ix_(order, order)], atol=1e-5)


def test_identical_images_have_distance_zero_but_stored():
    distance = jaccard_distance(np.ones((10, 4)), 30, 6, 0.5)
    assert distance.nnz == 100
    np.testing.assert_allclose(distance.data, 0, atol=1e-6)


def test_one_image():
    assert jaccard_distance(np.ones((1, 4))).nnz == 1


def test_bad_arguments():
    features = clustered_features(20, 2)
    for k1, k2 in ((0, 0), (5, 0), (5, 6)):
        with pytest.raises(ValueError, match=r'k[12]'):
            jaccard_distance(features, k1, k2)
    for max_distance in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match='max_distance'):
            jaccard_distance(features, 5, 2, max_distance)
    with pytest.raises(ValueError, match='4 neighbors'):
        jaccard_distance(features, 5, 2, graph=knn_graph(features, 4))
    with pytest.raises(ValueError, match='19 images'):
        jaccard_distance(features, 5, 2, graph=knn_graph(features[:-1], 5))


@pytest.mark.slow
@pytest.mark.parametrize('eps', [0.6, 0.5])
def test_reference_partition_from_the_reference_graph(eps):
    data = np.load(shared_data('labels/market1501_pass_vit_s.npz'))
    reference = np.load(shared_data('labels/market1501_reference_dbscan.npz'))
    features = data['features_int8'] * data['feature_scale'][:, None]
    graph = KNNGraph(data['knn_index'].astype(np.int64), data['knn_similarity'])
    distance = jaccard_distance(features, max_distance=eps, graph=graph)
    labels = DBSCAN(eps=eps, min_samples=4, metric='precomputed').fit_predict(distance)
    assert adjusted_rand_score(reference[f'eps_{eps}'.replace('.', '_')], labels) >= 0.995


def test_defaults_are_the_published_sizes():
    features = clustered_features(120, 5, 0.4)
    default, published, other = (
        jaccard_distance(features, *sizes).toarray() for sizes in ((), (30, 6), (31, 6))
    )
    np.testing.assert_array_equal(default, published)
    assert (default != other).any()
