import numpy as np
import pytest
import torch
from mmengine.config import Config

from glc.core.evaluation import KReciprocalReranking, QueryExpansion, evaluate_ranking
from glc.evaluation import ReIDMetric, reid_metric
from glc.registry import METRICS


def predictions(rows):
    """(feature, pid, cam_id, is_query) to what the test loop hands over."""
    return [
        dict(feature=torch.tensor(feature), pid=pid, cam_id=cam, is_query=query)
        for feature, pid, cam, query in rows
    ]


QUERY = [((1.0, 0.0), 1, 0, True), ((0.0, 1.0), 2, 0, True)]


def test_scores_in_percent_of_a_case_done_by_hand():
    gallery = [
        ((1.0, 0.1), 1, 0, False),  # same person and camera as the first query: ignored
        ((1.0, 0.2), 2, 1, False),
        ((1.0, 0.3), 1, 1, False),  # the match of the first query, behind one other
        ((0.1, 1.0), 2, 1, False),
        ((0.3, 1.0), 3, 1, False),
    ]
    metric = ReIDMetric()
    for batch in (QUERY, gallery):
        unit = [
            (tuple(torch.nn.functional.normalize(torch.tensor(f), dim=0).tolist()), *rest)
            for f, *rest in batch
        ]
        metric.process({}, predictions(unit))
    scores = metric.evaluate(size=7)
    # First query: 1/2. Second: matches at ranks 1 and 4 (before them: none; 0.3-1.0 and 1.0-0.3).
    second = (1 / 1 + 2 / 4) / 2
    assert scores['reid/mAP'] == pytest.approx(100 * (0.5 + second) / 2, abs=0.01)
    assert scores['reid/rank1'] == 50.0
    assert scores['reid/rank5'] == 100.0


def test_query_without_gallery():
    metric = ReIDMetric()
    metric.process({}, predictions(QUERY))
    with pytest.raises(RuntimeError, match="got 2 and 0: use split='test'"):
        metric.evaluate(size=2)


def random_rows(num_queries=20, num_gallery=90, seed=0):
    """Unit features of 6 people on 3 cameras; every ninth gallery image is of unknown identity."""
    rng = np.random.default_rng(seed)
    num = num_queries + num_gallery
    pids, cams = rng.integers(6, size=num), rng.integers(3, size=num)
    features = rng.normal(size=(6, 10))[pids] + 1.2 * rng.normal(size=(num, 10))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    pids[num_queries::9] = -1
    is_query = np.arange(num) < num_queries
    return [
        (feature.tolist(), int(pid), int(cam), bool(query))
        for feature, pid, cam, query in zip(features, pids, cams, is_query, strict=True)
    ]


@pytest.mark.parametrize(('size', 'images'), [(3, 91), (4, 93), (2, 90)])
def test_processes_take_turns(size, images, monkeypatch):
    """The sampler adds images from the beginning, until all processes have as many; one may have less, or none."""
    rows = random_rows(20, images - 20)
    padded = rows + rows[: -len(rows) % size]
    of_process = [predictions(padded[rank::size]) for rank in range(size)]
    if size == 2:
        of_process = [predictions(rows), []]
    parts = []

    def gathered(mine):
        parts.append(mine)
        return parts if len(parts) == size else None

    monkeypatch.setattr(reid_metric, 'gather_object', gathered)
    monkeypatch.setattr(
        reid_metric, 'broadcast_object_list', lambda scores: scores.insert(0, scores[0] or {})
    )
    for samples in of_process:
        metric = ReIDMetric()
        if samples:
            metric.process({}, samples)
        scores = metric.evaluate(len(rows))
    monkeypatch.undo()
    assert scores == evaluate(rows)
    with pytest.raises(RuntimeError, match='evaluation got no images'):
        ReIDMetric().evaluate(0)


def evaluate(rows, **options):
    metric = ReIDMetric(**options)
    metric.process({}, predictions(rows))
    return metric.evaluate(size=len(rows))


def test_options_add_scores_and_leave_the_plain_ones():
    rows = random_rows()
    plain = evaluate(rows)
    names = [name.removeprefix('reid/') for name in plain]
    assert names == ['mAP', 'mINP', 'rank1', 'rank5', 'rank10']
    scores = evaluate(rows, rerank=dict(k1=8, k2=3, lambda_value=0.2), query_expansion=dict(k=4, alpha=1.0))
    prefixes = ('', 'rerank_', 'qe_', 'qe_rerank_')
    assert list(scores) == [f'reid/{prefix}{name}' for prefix in prefixes for name in names]
    assert {name: scores[name] for name in plain} == plain
    assert len({scores[f'reid/{prefix}mAP'] for prefix in prefixes}) == 4


def test_options_score_what_the_core_computes():
    rows = [row for row in random_rows() if row[1] >= 0]
    features, pids, cams, is_query = (np.array(part) for part in zip(*rows, strict=True))
    query, gallery = features[is_query], features[~is_query]
    ids = pids[is_query], pids[~is_query], cams[is_query], cams[~is_query]
    scores = evaluate(rows, rerank=True, query_expansion=True)

    def percent(*pair, **kwargs):
        return pytest.approx(100 * evaluate_ranking(*pair, *ids, **kwargs)['mAP'], abs=0.006)

    expanded = QueryExpansion(k=5, alpha=3.0)(query, gallery)
    rerank = KReciprocalReranking(20, 6, 0.3)
    assert scores['reid/rerank_mAP'] == percent(query, gallery, distance=rerank(query, gallery))
    assert scores['reid/qe_mAP'] == percent(*expanded)
    assert scores['reid/qe_rerank_mAP'] == percent(*expanded, distance=rerank(*expanded))


def test_unknown_identities_take_no_part():
    rows = random_rows()
    known = [row for row in rows if row[1] >= 0]
    assert len(known) < len(rows)
    options = dict(rerank=dict(k1=8), query_expansion=dict(gallery=True))
    assert evaluate(rows, **options) == evaluate(known, **options)


def test_one_line_on_the_command_line_reaches_the_options():
    cfg = Config(dict(val_evaluator=dict(type='ReIDMetric'), test_evaluator=dict(type='ReIDMetric')))
    cfg.merge_from_dict({'test_evaluator.rerank': True, 'test_evaluator.query_expansion.k': 3})
    metric = METRICS.build(cfg.test_evaluator)
    assert metric.rerank == KReciprocalReranking(k1=20, k2=6, lambda_value=0.3)
    assert metric.query_expansion == QueryExpansion(k=3)
    plain = METRICS.build(cfg.val_evaluator)
    assert plain.rerank is None
    assert plain.query_expansion is None
    assert ReIDMetric(rerank=False).rerank is None
    assert ReIDMetric(rerank=dict(square=True)).rerank == KReciprocalReranking(square=True)


def test_bad_options_fail_at_once():
    with pytest.raises(TypeError, match='k3'):
        ReIDMetric(rerank=dict(k3=1))
    with pytest.raises(ValueError, match='lambda_value'):
        ReIDMetric(rerank=dict(lambda_value=2))
    with pytest.raises(ValueError, match="'k' parameter of QueryExpansion"):
        ReIDMetric(query_expansion=dict(k=0))


def test_queries_of_unknown_identity_take_no_part():
    rows = random_rows()
    partly = [
        (feature, -1 if index % 4 == 0 else pid, cam, query)
        for index, (feature, pid, cam, query) in enumerate(rows)
    ]
    known = [row for row in partly if row[1] >= 0]
    options = dict(rerank=dict(k1=8), query_expansion=dict(gallery=True))
    assert evaluate(partly, **options) == evaluate(known, **options)


def test_without_any_identity_the_message_says_so():
    rows = [(feature, -1, cam, query) for feature, _, cam, query in random_rows()]
    with pytest.raises(
        RuntimeError, match=r'20 queries and 90 gallery images are of unknown identity .*draw_ranked'
    ):
        evaluate(rows)


def test_images_of_one_camera_are_scored_on_request():
    rows = [(feature, pid, 4, query) for feature, pid, _, query in random_rows()]
    with pytest.raises(
        ValueError, match=r"cameras are \[4\]. same_camera='keep', of evaluate_ranking and of ReIDMetric"
    ):
        evaluate(rows)
    unknown = [(feature, pid, -1, query) for feature, pid, _, query in rows]
    options = dict(rerank=dict(k1=8))
    assert evaluate(rows, same_camera='keep', **options) == evaluate(unknown, **options)
    with pytest.raises(ValueError, match="'same_camera' parameter of ReIDMetric"):
        ReIDMetric(same_camera='ignore')
