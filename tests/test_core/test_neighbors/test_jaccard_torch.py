"""The Jaccard distance in torch against the compiled kernels and the dense float64 definition."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from glc.core.labels import as_unit_features
from glc.core.neighbors import jaccard_torch
from glc.core.neighbors.jaccard import encoding_distance, jaccard_distance, reciprocal_encodings
from glc.core.neighbors.jaccard_numba import join_rows
from glc.core.neighbors.jaccard_torch import CompressedRows, encode_rows, near_pairs
from glc.core.neighbors.knn import KNNGraph, euclidean_graph, knn_graph
from tests.test_core.oracles import clustered_features, naive_jaccard
from tests.test_core.test_neighbors.test_jaccard import as_dense


def encodings_of(features, graph, scales, k2):
    x, ranks = as_unit_features(features), graph.indices.int()
    return [encode_rows(x, ranks, scale, k2) for scale in scales]


def assert_same_rows(found, expected):
    expected.sort_indices()
    np.testing.assert_array_equal(found.starts, expected.indptr)
    np.testing.assert_array_equal(found.columns, expected.indices)
    np.testing.assert_allclose(found.values, expected.data, rtol=1e-6)
    assert found.values.dtype == torch.float32


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(
    num_images=st.integers(1, 60),
    num_clusters=st.integers(1, 6),
    k1=st.integers(1, 40),
    k2=st.integers(1, 8),
    noise=st.sampled_from([0.0, 0.15, 0.5]),
    block_bytes=st.sampled_from([64, 3000, 2**28]),
    seed=st.integers(0, 1000),
)
def test_equals_the_kernels_and_the_dense_definition(
    num_images, num_clusters, k1, k2, noise, block_bytes, seed
):
    k2 = min(k1, k2)
    features = clustered_features(num_images, num_clusters, noise, seed=seed)
    graph = knn_graph(features, k1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jaccard_torch, 'BLOCK_BYTES', block_bytes)
        found = encodings_of(features, graph, [k1], k2)
        distance = as_dense(encoding_distance(found))
    expected = reciprocal_encodings(features, k1, k2, graph)
    assert_same_rows(found[0], expected[0])
    np.testing.assert_allclose(distance, as_dense(encoding_distance(expected)), atol=1e-6)
    if noise:  # the order of equal images is a matter of rounding
        np.testing.assert_allclose(distance, naive_jaccard(features, k1, k2), atol=1e-6)


@pytest.mark.parametrize('max_distance', [0.0, 0.4, 1.0])
def test_mean_of_scales_within_a_distance(max_distance):
    features = clustered_features(150, 8, 0.3, seed=2)
    graph = knn_graph(features, 20)
    found = encoding_distance(encodings_of(features, graph, (5, 10, 20), 3), max_distance)
    expected = encoding_distance(reciprocal_encodings(features, (5, 10, 20), 3, graph), max_distance)
    assert found.nnz == expected.nnz
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.toarray(), expected.toarray(), atol=1e-6)


@pytest.mark.parametrize('power', [1.0, 2.0])
def test_half_sets_scales_and_powers_of_their_own(power):
    features = clustered_features(80, 6, 0.3, seed=3)
    graph = knn_graph(features, 12)
    scale = np.random.default_rng(0).uniform(0.5, 2, size=80)
    found = encode_rows(as_unit_features(features), graph.indices.int(), 12, 3, 5, scale, power)
    assert_same_rows(found, reciprocal_encodings(features, 12, 3, graph, 5, scale, power)[0])


def test_features_as_they_are():
    """Long ones are nearer than 0."""
    features = clustered_features(100, 8, 0.3, seed=7) * np.random.default_rng(0).uniform(0.5, 1.5, (100, 1))
    x = torch.from_numpy(features.astype(np.float32))
    found = encoding_distance([encode_rows(x, euclidean_graph(x, 12).indices.int(), 12, 4)])
    np.testing.assert_allclose(as_dense(found), naive_jaccard(x.numpy(), 12, 4, unit=False), atol=1e-6)


def test_a_row_is_the_same_in_any_block_and_share(monkeypatch):
    features = clustered_features(90, 5, 0.3, seed=4)
    encodings = encodings_of(features, knn_graph(features, 12), (6, 12), 3)
    whole = join_rows(near_pairs(encodings, 0.9, range(90)))
    monkeypatch.setattr(jaccard_torch, 'BLOCK_BYTES', 2**16)  # a thousand products
    shares = [
        block
        for share in (range(20), range(20, 20), range(20, 90))
        for block in near_pairs(encodings, 0.9, share)
    ]
    assert 5 < len(shares) < 80
    for part, expected in zip(join_rows(shares), whole, strict=True):
        np.testing.assert_array_equal(part, expected)


def test_sums_do_not_depend_on_the_order_of_their_terms(monkeypatch):
    features = clustered_features(90, 5, 0.3, seed=5)
    encodings = encodings_of(features, knn_graph(features, 12), (6, 12), 3)
    expected = join_rows(near_pairs(encodings, 1.0, range(90)))
    add = torch.Tensor.index_add_

    def add_backwards(self, dim, index, source):
        return add(self, dim, index.flip(0), source.flip(0))

    monkeypatch.setattr(torch.Tensor, 'index_add_', add_backwards)
    again = encodings_of(features, knn_graph(features, 12), (6, 12), 3)
    for part, first in zip(again[0] + again[1], encodings[0] + encodings[1], strict=True):
        np.testing.assert_array_equal(part, first)
    for part, first in zip(join_rows(near_pairs(again, 1.0, range(90))), expected, strict=True):
        np.testing.assert_array_equal(part, first)


def test_neighbors_that_repeat_count_as_the_kernels_count_them():
    features = clustered_features(40, 4)
    alone = KNNGraph(np.arange(40)[:, None].repeat(10, axis=1), np.ones((40, 10), np.float32))
    assert_same_rows(
        encodings_of(features, alone, [10], 3)[0], reciprocal_encodings(features, 10, 3, graph=alone)[0]
    )


def test_a_column_that_everybody_has():
    rows = sparse.csr_array(
        np.concatenate([np.full((50, 1), 0.5), 0.5 * np.eye(50, 49)], axis=1).astype(np.float32)
    )
    rows = sparse.csr_array((rows.data, rows.indices, rows.indptr), shape=(50, 50))
    parts = (rows.indptr.astype(np.int64), rows.indices.astype(np.int32), rows.data)
    distance = encoding_distance([CompressedRows(*map(torch.from_numpy, parts))])
    np.testing.assert_allclose(
        as_dense(distance) + np.eye(50), np.full((50, 50), 2 / 3) + np.eye(50) / 3, atol=1e-6
    )


@pytest.mark.gpu
def test_gpu_gives_the_distances_of_the_cpu_every_time():
    features = torch.from_numpy(clustered_features(2000, 100, 0.3))
    expected = jaccard_distance(features, (10, 30), 6, 0.8)
    first, second = (jaccard_distance(features.cuda(), (10, 30), 6, 0.8) for _ in range(2))
    assert (first != second).nnz == 0
    np.testing.assert_allclose(first.toarray(), expected.toarray(), atol=1e-5)
