import pytest
import torch

from glc.evaluation import ReIDMetric


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
