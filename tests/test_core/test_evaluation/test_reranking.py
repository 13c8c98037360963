"""Re-ranking and query expansion against the dense float64 formulas."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glc.core.evaluation.ranking
import glc.core.evaluation.reranking
from glc.core.evaluation import KReciprocalReranking, QueryExpansion, evaluate_ranking, rank_gallery
from tests.test_core.oracles import clustered_features, dense_similarities, naive_ranks


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def dense_reranking(query, gallery, k1, k2, lambda_value, square=False):
    """The published formula, image by image, with dense float64 matrices of all images."""
    images = np.concatenate([query, gallery])
    original = 2 - 2 * dense_similarities(images)
    if square:  # as Cluster Contrast: before the division
        original = original**2
    original = (original / original.max(axis=0)).T
    ranks = naive_ranks(images, len(images))

    def reciprocal(i, k):
        return {int(j) for j in ranks[i, : k + 1] if i in ranks[j, : k + 1]}

    encoding = np.zeros_like(original)
    for i in range(len(images)):
        own = reciprocal(i, k1)
        expanded = set(own)
        for j in own:
            candidate = reciprocal(j, int(np.around(k1 / 2)))
            if len(candidate & own) > 2 / 3 * len(candidate):
                expanded |= candidate
        members = sorted(expanded)
        encoding[i, members] = np.exp(-original[i, members])
        encoding[i] /= encoding[i].sum()
    encoding = np.array([encoding[ranks[i, :k2]].mean(axis=0) for i in range(len(images))])
    jaccard = np.empty((len(query), len(images)))
    for i in range(len(query)):
        shared = np.minimum(encoding[i], encoding).sum(axis=1)
        jaccard[i] = 1 - shared / (2 - shared)
    final = (1 - lambda_value) * jaccard + lambda_value * original[: len(query)]
    return final[:, len(query) :]


def task(seed, num_queries=9, num_gallery=50, noise=0.25):
    """Queries and gallery of the same people, float32."""
    features = clustered_features(num_queries + num_gallery, 5, noise, dim=16, seed=seed)
    return features[:num_queries], features[num_queries:]


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    num_queries=st.integers(1, 12),
    num_gallery=st.integers(1, 60),
    k1=st.integers(1, 24),
    k2=st.integers(1, 8),
    lambda_value=st.floats(0, 1),
    noise=st.sampled_from([0.1, 0.3, 0.6]),
    square=st.booleans(),
)
def test_reranking_equals_the_dense_formula(
    seed, num_queries, num_gallery, k1, k2, lambda_value, noise, square
):
    pair = task(seed, num_queries, num_gallery, noise)
    numbers = k1, min(k1, k2), lambda_value, square
    distance = KReciprocalReranking(*numbers)(*pair)(range(num_queries))
    assert distance.dtype == torch.float32
    np.testing.assert_allclose(distance, dense_reranking(*pair, *numbers), atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize('k1', [6, 7, 20, 21])  # round(k1 / 2) is to the even number
def test_reranking_of_a_larger_set(k1):
    pair = task(k1, 30, 170, 0.3)
    distance = KReciprocalReranking(k1)(*pair)(range(30))
    np.testing.assert_allclose(distance, dense_reranking(*pair, k1, 6, 0.3), atol=2e-6)


def test_distances_that_are_squared_again_rank_in_another_way():
    pair = task(8, 30, 170, 0.4)
    plain, squared = (KReciprocalReranking(square=square)(*pair)(range(30)) for square in (False, True))
    assert not torch.equal(plain.argsort(dim=1), squared.argsort(dim=1))
    np.testing.assert_allclose(squared, dense_reranking(*pair, 20, 6, 0.3, square=True), atol=2e-6)


def test_blocks_of_queries_change_nothing(monkeypatch):
    pair = task(3)
    whole = KReciprocalReranking()(*pair)(range(9)).numpy()
    monkeypatch.setattr(glc.core.evaluation.ranking, '_BLOCK_SIMILARITIES', 4 * 50)
    distance = KReciprocalReranking()(*pair)
    blocks = [distance(rows) for rows in (range(4), range(4, 5), range(5, 9))]
    np.testing.assert_allclose(torch.cat(blocks), whole, atol=1e-6)


def test_equal_images_are_nearest_and_finite():
    features = np.ones((8, 4), np.float32)
    distance = KReciprocalReranking(k1=3, k2=2)(features[:2], features[2:])(range(2))
    assert distance.isfinite().all()
    assert distance.max() <= 1


def test_a_distance_ranks_and_the_protocol_ignores_as_before():
    query, gallery = task(5, 12, 70, 0.4)
    rng = np.random.default_rng(0)
    query_pids, gallery_pids = rng.integers(5, size=12), rng.integers(-1, 5, size=70)
    query_cams, gallery_cams = rng.integers(3, size=12), rng.integers(3, size=70)
    ids = query_pids, gallery_pids, query_cams, gallery_cams
    dense = dense_reranking(query, gallery, 20, 6, 0.3)
    precisions, first, best = [], [], []
    for row, pid, cam in zip(dense, query_pids, query_cams, strict=True):
        used = (gallery_pids >= 0) & ~((gallery_pids == pid) & (gallery_cams == cam))
        order = [j for j in np.argsort(row, kind='stable') if used[j]]
        best.append(order[:20])
        hits = np.flatnonzero(gallery_pids[order] == pid) + 1
        if len(hits):
            precisions.append(np.mean(np.arange(1, len(hits) + 1) / hits))
            first.append(hits[0] == 1)
    reranked = KReciprocalReranking()(query, gallery)
    scores = evaluate_ranking(query, gallery, *ids, distance=reranked)
    assert scores['mAP'] == pytest.approx(np.mean(precisions), abs=1e-9)
    assert scores['rank1'] == pytest.approx(np.mean(first), abs=1e-9)
    np.testing.assert_array_equal(rank_gallery(query, gallery, *ids, top=20, distance=reranked), best)
    assert scores['mAP'] != evaluate_ranking(query, gallery, *ids)['mAP']


def dense_expansion(own, database, k, alpha, skip_self):
    """Weighted means, one image at a time."""
    own, database = unit(own), unit(database)
    result = []
    for i, x in enumerate(own):
        similarity = database @ x
        order = [j for j in np.argsort(-similarity) if not (skip_self and j == i)][:k]
        result.append(x + sum(max(0.0, similarity[j]) ** alpha * database[j] for j in order))
    return unit(result)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    num_gallery=st.integers(1, 40),
    k=st.integers(1, 12),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0, 5.0]),
    noise=st.sampled_from([0.2, 1.0]),
)
def test_expansion_equals_the_dense_formula(seed, num_gallery, k, alpha, noise):
    query, gallery = task(seed, 7, num_gallery, noise)
    expanded, unchanged = QueryExpansion(k, alpha)(query, gallery)
    np.testing.assert_allclose(expanded, dense_expansion(query, gallery, k, alpha, False), atol=5e-6)
    np.testing.assert_allclose(unchanged, unit(gallery), atol=1e-6)
    expanded, augmented = QueryExpansion(k, alpha, gallery=True)(query, gallery)
    expected = dense_expansion(gallery, gallery, k, alpha, True)
    np.testing.assert_allclose(augmented, expected, atol=5e-6)
    np.testing.assert_allclose(expanded, dense_expansion(query, expected, k, alpha, False), atol=1e-5)


def test_average_expansion_is_the_mean_of_the_nearest():
    query, gallery = task(1)
    nearest = np.argsort(-unit(query) @ unit(gallery).T, axis=1)[:, :3]
    mean = unit(query) + unit(gallery)[nearest].sum(axis=1)
    np.testing.assert_allclose(QueryExpansion(3, 0.0)(query, gallery)[0], unit(mean), atol=1e-6)


def test_blocks_of_an_expansion_change_nothing(monkeypatch):
    pair = task(2)
    whole = [part.numpy() for part in QueryExpansion(gallery=True)(*pair)]
    monkeypatch.setattr(glc.core.evaluation.ranking, '_BLOCK_SIMILARITIES', 4 * 50)
    monkeypatch.setattr(glc.core.evaluation.reranking, '_BLENDED_ROWS', 7)
    for part, expected in zip(QueryExpansion(gallery=True)(*pair), whole, strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-6)


@pytest.mark.slow
def test_the_methods_of_the_benchmark_agree(monkeypatch):
    folder = Path(__file__).resolve().parents[3] / 'tools/benchmarks'
    monkeypatch.syspath_prepend(folder)
    measure = runpy.run_path(str(folder / 'bench_rerank.py'))['measure']
    sparse, dense = (measure(kind, 30, 150, 16)[-1] for kind in ('sparse', 'dense'))
    assert dense.shape == (20, 150)
    np.testing.assert_allclose(sparse, dense, atol=5e-6)


@pytest.mark.gpu
def test_gpu_gives_the_values_of_the_cpu():
    pair = task(4)
    on_gpu = [torch.from_numpy(part).cuda() for part in pair]
    distance = KReciprocalReranking()(*on_gpu)(range(9))
    assert distance.is_cuda
    np.testing.assert_allclose(distance.cpu(), KReciprocalReranking()(*pair)(range(9)), atol=1e-5)
    for part, expected in zip(
        QueryExpansion(gallery=True)(*on_gpu), QueryExpansion(gallery=True)(*pair), strict=True
    ):
        np.testing.assert_allclose(part.cpu(), expected, atol=1e-5)


def test_bad_arguments():
    for k1, k2, message in (
        (0, 0, "'k1' parameter"),
        (5, 0, "'k2' parameter"),
        (5, 6, 'KReciprocalReranking must satisfy 1 <= k2 <= k1, got k1=5, k2=6'),
    ):
        with pytest.raises(ValueError, match=message):
            KReciprocalReranking(k1, k2)
    for value in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match='lambda_value'):
            KReciprocalReranking(lambda_value=value)
    with pytest.raises(ValueError, match="'k' parameter of QueryExpansion"):
        QueryExpansion(k=0)
    for alpha in (-1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match='alpha'):
            QueryExpansion(alpha=alpha)
    query, gallery = task(0)
    for method in (KReciprocalReranking(), QueryExpansion()):
        with pytest.raises(ValueError, match='have 15 values'):
            method(query[:, 1:], gallery)


def test_default_of_query_expansion():
    assert QueryExpansion().alpha == 3.0
