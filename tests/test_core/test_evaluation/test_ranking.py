import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import glc.core.evaluation.ranking
from glc.core.evaluation import evaluate_ranking, rank_gallery, score_queries
from tests.test_core.foreign_device import FOREIGN, ForeignDevice


def retrieval_task(num_queries=25, num_gallery=80, seed=0, num_ids=8, num_cams=3):
    """Features, identities (gallery: some unknown) and cameras of queries and gallery."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(num_ids, 12))
    query_pids = rng.integers(num_ids, size=num_queries)
    gallery_pids = rng.integers(-1, num_ids, size=num_gallery)
    query = centers[query_pids] + 1.5 * rng.normal(size=(num_queries, 12))
    gallery = centers[gallery_pids] + 1.5 * rng.normal(size=(num_gallery, 12))
    query_cams, gallery_cams = (
        rng.integers(num_cams, size=num_queries),
        rng.integers(num_cams, size=num_gallery),
    )
    return query, gallery, query_pids, gallery_pids, query_cams, gallery_cams


def naive_rankings(query, gallery, query_pids, gallery_pids, query_cams, gallery_cams):
    """For every query, the used gallery images, best first."""
    for x, pid, cam in zip(query, query_pids, query_cams, strict=True):
        similarity = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in gallery]
        used = [
            j
            for j in range(len(gallery))
            if gallery_pids[j] >= 0 and not (gallery_pids[j] == pid and gallery_cams[j] == cam)
        ]
        yield pid, sorted(used, key=lambda j: (-similarity[j], j))


def naive_scores(*task, ranks=(1, 5, 10)):
    gallery_pids = task[3]
    precisions, penalties, first = [], [], []
    for pid, ranking in naive_rankings(*task):
        hits, precision = 0, []
        for rank, j in enumerate(ranking, start=1):
            if gallery_pids[j] == pid:
                hits += 1
                precision.append(hits / rank)
                last = rank
                if hits == 1:
                    first.append(rank)
        if hits:
            precisions.append(np.mean(precision))
            penalties.append(hits / last)
    cmc = {f'rank{r}': np.mean([rank <= r for rank in first]) for r in ranks}
    return {'mAP': np.mean(precisions), 'mINP': np.mean(penalties), **cmc}


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), num_cams=st.integers(2, 4))
def test_equals_a_plain_loop(seed, num_cams):
    task = retrieval_task(seed=seed, num_cams=num_cams)
    assert evaluate_ranking(*task) == pytest.approx(naive_scores(*task), abs=1e-9)


def test_any_kind_of_input():
    task = retrieval_task()
    expected = evaluate_ranking(*task)
    assert list(expected) == ['mAP', 'mINP', 'rank1', 'rank5', 'rank10']
    assert evaluate_ranking(*map(torch.from_numpy, task)) == pytest.approx(expected, abs=1e-9)
    assert evaluate_ranking(task[0] * 3, torch.from_numpy(task[1]).float(), *task[2:]) == pytest.approx(
        expected
    )


@pytest.mark.gpu
def test_gpu_gives_the_scores_of_the_cpu():
    task = retrieval_task()
    tensors = [torch.from_numpy(x).cuda() for x in task]
    assert evaluate_ranking(*tensors) == pytest.approx(evaluate_ranking(*task), abs=1e-9)
    assert evaluate_ranking(*tensors[:2], *task[2:]) == pytest.approx(evaluate_ranking(*task), abs=1e-9)
    np.testing.assert_array_equal(rank_gallery(*tensors), rank_gallery(*task))


def test_other_ranks():
    task = retrieval_task()
    ranks = (1, 3, 20)
    assert evaluate_ranking(*task, ranks=ranks) == pytest.approx(naive_scores(*task, ranks=ranks), abs=1e-9)
    assert list(evaluate_ranking(*task, ranks=())) == ['mAP', 'mINP']
    with pytest.raises(ValueError, match='ranks'):
        evaluate_ranking(*task, ranks=(0, 1))


def test_blocks_of_queries_change_nothing(monkeypatch):
    task = retrieval_task()
    scores, best = evaluate_ranking(*task), rank_gallery(*task)
    monkeypatch.setattr(glc.core.evaluation.ranking, '_BLOCK_SIMILARITIES', 3 * 80)
    assert evaluate_ranking(*task) == scores
    np.testing.assert_array_equal(rank_gallery(*task), best)


def test_a_worked_example():
    gallery = np.array([[1, 0.01 * i] for i in range(1, 7)])
    #                 ignored: own camera; unknown; then wrong, hit, wrong, hit
    gallery_pids, gallery_cams = np.array([5, -1, 3, 5, 0, 5]), np.array([0, 1, 0, 1, 1, 2])
    query, query_pids, query_cams = np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([5, 8]), np.array([0, 0])
    scores = evaluate_ranking(
        query, gallery, query_pids, gallery_pids, query_cams, gallery_cams, ranks=(1, 2)
    )
    assert scores == {'mAP': pytest.approx(0.5), 'mINP': pytest.approx(0.5), 'rank1': 0.0, 'rank2': 1.0}


def test_equal_similarities_keep_the_order_of_the_gallery():
    features = np.ones((6, 4))
    pids, cams = np.array([0, 1, 0, 1, 1, 0]), np.arange(1, 7)
    scores = evaluate_ranking(features[:1], features, np.array([1]), pids, np.array([0]), cams)
    assert scores['mAP'] == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert rank_gallery(features[:1], features, np.array([1]), pids, np.array([0]), cams).tolist() == [
        [0, 1, 2, 3, 4, 5, -1, -1, -1, -1]
    ]


def scores_of_rankings(rankings, query_pids, gallery_pids):
    """Rows 'ap', 'inp' and 'first_rank' of ranked galleries, -1 = ignored."""
    expected = np.full((3, len(rankings)), np.nan)
    for query, ranking in enumerate(rankings):
        hits = np.flatnonzero(gallery_pids[ranking[ranking >= 0]] == query_pids[query]) + 1
        if len(hits) and query_pids[query] >= 0:
            expected[:, query] = np.mean(np.arange(1, len(hits) + 1) / hits), len(hits) / hits[-1], hits[0]
    return expected


DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64]
WAYS = {'counted': {}, 'sorted': {'_MANY_MATCHES': 0}, 'in blocks': {'_BLOCK_SIMILARITIES': 5 * 60}}


@pytest.mark.slow
@pytest.mark.parametrize('way', [*WAYS, 'on a device'])
@settings(deadline=None, max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    levels=st.integers(1, 30),
    dtype=st.sampled_from(DTYPES),
    same_camera=st.sampled_from(['drop', 'keep']),
)
def test_ranks_are_those_of_a_stable_sort(way, seed, levels, dtype, same_camera):
    rng = np.random.default_rng(seed)
    distances = torch.from_numpy(rng.integers(levels, size=(60, 12)) - 2).to(dtype).T
    ids = [rng.integers(-2, 4, size=size) for size in (12, 60)]
    cams = [rng.integers(-2, 3, size=size) for size in (12, 60)]
    features = torch.ones(12, 2), torch.ones(60, 2)
    options = {'distance': lambda rows: distances[rows.start : rows.stop], 'same_camera': same_camera}
    rankings = rank_gallery(*features, *ids, *cams, top=60, **options)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WAYS.get(way, {}).items():
            patch.setattr(glc.core.evaluation.ranking, name, value)
        if way == 'on a device':
            with ForeignDevice():
                scores = score_queries(*(part.to(FOREIGN) for part in features), *ids, *cams, **options)
        else:
            scores = score_queries(*features, *ids, *cams, **options)
    np.testing.assert_allclose([*scores.values()], scores_of_rankings(rankings, *ids))


def test_a_device_counts_a_few_matches_at_once(monkeypatch):
    task = retrieval_task()
    expected = score_queries(*task)
    monkeypatch.setattr(glc.core.evaluation.ranking, '_DEVICE_SIMILARITIES', 7 * 80)
    with ForeignDevice():
        tensors = [torch.from_numpy(part).to(FOREIGN) for part in task]
        np.testing.assert_equal(score_queries(*tensors), expected)


def test_threads_share_the_matches(monkeypatch):
    task = retrieval_task(31)
    alone = score_queries(*task)
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 4)
    np.testing.assert_equal(score_queries(*task), alone)


def test_distances_are_left_alone():
    task = retrieval_task()
    distances = torch.rand(25, 80)
    before = distances.clone()
    score_queries(*task, distance=lambda rows: distances[rows.start : rows.stop])
    assert distances.equal(before)


@pytest.mark.parametrize('top', [1, 7, 80, 100])
def test_best_gallery_images_equal_a_plain_sort(top):
    task = retrieval_task()
    best = rank_gallery(*task, top=top)
    expected = [([*ranking, *[-1] * top])[:top] for _, ranking in naive_rankings(*task)]
    np.testing.assert_array_equal(best, expected)
    assert best.dtype == np.int64


def test_bad_arguments():
    query, gallery, query_pids, gallery_pids, query_cams, gallery_cams = retrieval_task()
    with pytest.raises(ValueError, match='no query has a match'):
        evaluate_ranking(query, gallery, query_pids + 100, gallery_pids, query_cams, gallery_cams)
    with pytest.raises(ValueError, match='no query has a match'):
        evaluate_ranking(query, gallery, query_pids, gallery_pids, query_cams * 0, gallery_cams * 0)
    with pytest.raises(ValueError, match='gallery identities: got 79 for 80'):
        evaluate_ranking(query, gallery, query_pids, gallery_pids[1:], query_cams, gallery_cams)
    with pytest.raises(ValueError, match='query cameras'):
        evaluate_ranking(query, gallery, query_pids, gallery_pids, query_cams[1:], gallery_cams)
    with pytest.raises(ValueError, match='have 11 values'):
        evaluate_ranking(query[:, 1:], gallery, query_pids, gallery_pids, query_cams, gallery_cams)
    query[3] = np.nan
    with pytest.raises(ValueError, match='rows 3'):
        evaluate_ranking(query, gallery, query_pids, gallery_pids, query_cams, gallery_cams)
    with pytest.raises(ValueError, match='top'):
        rank_gallery(gallery, gallery, gallery_pids, gallery_pids, gallery_cams, gallery_cams, top=0)


def unknown_task(seed=0):
    """A task whose cameras and identities are partly unknown."""
    rng = np.random.default_rng(seed)
    query, gallery, *ids = retrieval_task(seed=seed)
    return (
        query,
        gallery,
        *(np.where(rng.random(len(part)) < 0.3, -1 - rng.integers(2, size=len(part)), part) for part in ids),
    )


@pytest.mark.parametrize('seed', range(3))
def test_unknown_cameras_and_identities_equal_nobody(seed):
    query, gallery, query_pids, gallery_pids, query_cams, gallery_cams = unknown_task(seed)
    # Every unknown camera is one of its own, and every unknown identity is that of nobody else.
    apart = [
        np.where(part < 0, 100 + 1000 * i + np.arange(len(part)), part)
        for i, part in enumerate((query_cams, gallery_cams))
    ]
    strangers = np.where(query_pids < 0, 5000 + np.arange(len(query_pids)), query_pids)
    expected = naive_scores(query, gallery, strangers, gallery_pids, *apart)
    scores = evaluate_ranking(query, gallery, query_pids, gallery_pids, query_cams, gallery_cams)
    assert scores == pytest.approx(expected, abs=1e-9)


def test_without_cameras_every_image_of_the_person_is_a_match():
    features, pids, unknown = np.eye(3), np.arange(3), np.full(3, -1)
    assert evaluate_ranking(features, features, pids, pids, unknown, unknown)['mAP'] == 1
    assert evaluate_ranking(features, features, pids, pids, None, unknown)['mAP'] == 1
    with pytest.raises(ValueError, match='no identity in common'):
        evaluate_ranking(features, features, pids, pids + 3, None, None)
    assert rank_gallery(features, features, pids, pids, unknown, unknown, top=1).ravel().tolist() == [0, 1, 2]


def test_images_of_one_camera_can_be_kept():
    task = retrieval_task(num_cams=1)
    with pytest.raises(
        ValueError, match=r"common identities are of the camera .*cameras are \[0\].*same_camera='keep'"
    ):
        evaluate_ranking(*task)
    unknown = [np.full_like(part, -1) for part in task[4:]]
    expected = naive_scores(*task[:4], *(part - 1 - i for i, part in enumerate(unknown)))
    assert evaluate_ranking(*task, same_camera='keep') == pytest.approx(expected, abs=1e-9)
    assert (rank_gallery(*task, same_camera='keep') >= 0).all()


def test_a_missing_match_is_explained():
    query, gallery, query_pids, gallery_pids, *cams = retrieval_task()
    with pytest.raises(ValueError, match='no identity in common'):
        evaluate_ranking(query, gallery, query_pids + 100, gallery_pids, *cams)
    with pytest.raises(ValueError, match='known of 0 of 25 queries and of 80 of 80 gallery images'):
        evaluate_ranking(query, gallery, np.full(25, -1), abs(gallery_pids), *cams)
    with pytest.raises(ValueError, match='known of 25 of 25 queries and of 0 of 80'):
        evaluate_ranking(query, gallery, query_pids, np.full(80, -7), *cams)


def test_unlabeled_images_can_be_ranked():
    query, gallery, *_ = retrieval_task()
    unknown = [np.full(len(part), -1) for part in (query, gallery) * 2]
    similarity = [x @ gallery.T / np.linalg.norm(gallery, axis=1) for x in query]
    expected = [np.argsort(-row, kind='stable')[:10] for row in similarity]
    np.testing.assert_array_equal(rank_gallery(query, gallery, *unknown, unlabeled='keep'), expected)
    assert (rank_gallery(query, gallery, *unknown) == -1).all()
    partly = unknown_task()
    ranked = rank_gallery(*partly, top=80, unlabeled='keep')
    assert (
        (ranked >= 0).sum(axis=1)
        == [
            80 - ((partly[3] == p) & (partly[5] == c) & (p >= 0) & (c >= 0)).sum()
            for p, c in zip(partly[2], partly[4], strict=True)
        ]
    ).all()


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_distances_that_are_no_numbers_are_located(value):
    task = retrieval_task()

    def distance(queries):
        rows = torch.zeros(len(queries), 80)
        rows[3, 7] = rows[4, 0] = value
        return rows

    with pytest.raises(ValueError, match=r'distance: 2 of 2000 .* query 3 and gallery image 7'):
        evaluate_ranking(*task, distance=distance)
    with pytest.raises(ValueError, match=r'distance must return \(25, 80\) .* got \(25, 79\)'):
        rank_gallery(*task, distance=lambda queries: torch.zeros(len(queries), 79))


def test_features_are_named():
    query, gallery, *ids = retrieval_task()
    for position, name in enumerate(('query_features', 'gallery_features')):
        for wrong in (np.full_like(query, np.nan), query[0], query[:0], 'text'):
            pair = [query, gallery]
            pair[position] = wrong
            with pytest.raises(ValueError, match=name):
                evaluate_ranking(*pair, *ids)
