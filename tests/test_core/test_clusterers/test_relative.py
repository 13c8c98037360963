"""Edges measured by what their two images are used to, against a plain loop."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from glc.core.clusterers import RelativeMapEquationClusterer, map_equation_communities
from glc.core.clusterers.relative import relative_similarity
from glc.core.labels import compact_labels


def random_distances(num_images, share, seed):
    """Symmetric distances with a tiny diagonal; some images have many neighbors, some have none."""
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((num_images, num_images)) < share, rng.uniform(0.01, 1, (num_images,) * 2), 0)
    dense = np.triu(dense, 1) + np.triu(dense, 1).T
    alone = rng.random(num_images) < 0.1
    dense[alone] = dense[:, alone] = 0
    return sparse.csr_array(dense + 1e-30 * np.eye(num_images))


def naive_relative_similarity(distance, chain):
    """Image by image and edge by edge, dense."""
    dense = distance.toarray()
    num = len(dense)
    usual = []
    for i in range(num):
        strongest = sorted((1 - dense[i, j] for j in range(num) if j != i and dense[i, j] > 0), reverse=True)
        usual.append(np.mean(strongest[:8]) if strongest else 1.0)
    weights = np.zeros((num, num))
    for i in range(num):
        for j in range(num):
            similarity = 1 - dense[i, j]
            if i != j and dense[i, j] > 0 and similarity >= (usual[i] * usual[j]) ** (chain / 2):
                weights[i, j] = similarity / np.sqrt(usual[i] * usual[j])
    return weights


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.9), chain=st.sampled_from([1.0, 1.7, 3.0, 8.0]))
def test_equals_the_plain_loop(seed, share, chain):
    distance = random_distances(25, share, seed)
    weights = relative_similarity(distance, chain)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights.toarray(), naive_relative_similarity(distance, chain), atol=1e-12)
    np.testing.assert_array_equal(weights.toarray(), weights.toarray().T)
    single = distance.astype(np.float32)
    np.testing.assert_allclose(relative_similarity(single, chain).toarray(), weights.toarray(), atol=1e-5)


def test_only_the_eight_strongest_count():
    """An image with eight near and twelve far neighbors is used to the near ones."""
    dense = np.zeros((21, 21))
    dense[0, 1:9] = dense[1:9, 0] = 0.2
    dense[0, 9:] = dense[9:, 0] = 0.7
    weights = relative_similarity(sparse.csr_array(dense), 3.0).toarray()
    np.testing.assert_allclose(weights[0, 1:9], 0.8 / 0.8)
    np.testing.assert_allclose(weights[0, 9:], 0.3 / np.sqrt(0.8 * 0.3))


def two_people(far, between):
    """Distances of two people with twelve images each: ``far`` within, ``between`` from one to the other."""
    identity = np.repeat([0, 1], 12)
    return sparse.csr_array(
        np.where(identity[:, None] == identity, far, between) - far * np.eye(24)
    ), identity


def test_a_chain_binds_where_similarities_are_strong():
    """0.6 is far for people whose images are 0.9 similar, but not for those whose images are 0.75 similar."""
    for far, kept in ((0.1, False), (0.25, True)):
        distance, identity = two_people(far, between=0.4)
        apart = identity[:, None] != identity
        weights = relative_similarity(distance, 3.0).toarray()
        assert (weights[apart] > 0).all() == kept
        assert (weights[~apart & ~np.eye(24, dtype=bool)] > 0).all()
    distance, identity = two_people(0.1, between=0.4)
    np.testing.assert_array_equal(RelativeMapEquationClusterer()(distance), identity)
    assert RelativeMapEquationClusterer(chain=8)(distance).max() == 0
    np.testing.assert_array_equal(RelativeMapEquationClusterer(cut=0.3, chain=8)(distance), identity)


@pytest.mark.parametrize(('cut', 'chain', 'size'), [(0.7, 3.0, 2), (0.4, 2.0, 3), (0.9, 5.0, 1)])
def test_clusters_are_communities_of_the_plain_graph(cut, chain, size):
    distance = random_distances(60, 0.1, seed=int(10 * cut))
    near = sparse.csr_array(np.where(distance.toarray() <= cut, distance.toarray(), 0))
    expected = map_equation_communities(sparse.csr_array(naive_relative_similarity(near, chain)), size)
    clusterer = RelativeMapEquationClusterer(cut, chain, size)
    before = distance.copy()
    labels = clusterer(distance)
    assert (labels.dtype, clusterer.cut_, clusterer.reach) == (np.int64, cut, cut)
    assert adjusted_rand_score(expected, labels) == 1
    np.testing.assert_array_equal(compact_labels(labels, size), labels)
    assert (labels < 0).any() == (size > 1)
    np.testing.assert_array_equal(distance.toarray(), before.toarray())


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_permuting_the_images_permutes_the_clusters(seed):
    rng = np.random.default_rng(seed)
    identity = rng.permutation(np.repeat(np.arange(8), 10))
    dense = np.where(identity[:, None] == identity, 0.1, 0.6) + 0.3 * rng.random((80, 80))
    distance = sparse.csr_array(np.triu(dense, 1) + np.triu(dense, 1).T)
    order = rng.permutation(80)
    labels = RelativeMapEquationClusterer()(distance)
    permuted = RelativeMapEquationClusterer()(distance[order][:, order])
    assert adjusted_rand_score(labels[order], permuted) == 1
    assert labels.max() >= 4


def test_graphs_without_edges():
    for distance in (sparse.csr_array((5, 5)), sparse.csr_array(1e-30 * np.eye(5))):
        assert relative_similarity(distance, 3.0).nnz == 0
        np.testing.assert_array_equal(RelativeMapEquationClusterer()(distance), -1)
        np.testing.assert_array_equal(
            RelativeMapEquationClusterer(min_cluster_size=1)(distance), np.arange(5)
        )


def test_parameters():
    clusterer = RelativeMapEquationClusterer(0.6, 4.0, 3, 5)
    assert clone(clusterer).get_params() == {'cut': 0.6, 'chain': 4.0, 'min_cluster_size': 3, 'seed': 5}
    looser = clusterer.with_cut(0.05)
    assert looser.get_params() == {**clusterer.get_params(), 'cut': pytest.approx(0.65)}
    assert 'raise cut or chain' in clusterer.advice(0)
    assert 'lower cut or chain' in clusterer.advice(1)
    for wrong in ({'cut': 0}, {'chain': 0.9}, {'min_cluster_size': 0}, {'seed': -1}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter"):
            RelativeMapEquationClusterer(**wrong)(sparse.csr_array((5, 5)))
