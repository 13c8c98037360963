"""Pictures of ranked results show the right image with the right frame in the right place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glc.apis.pictures import rank_test, verdicts
from glc.cli.draw_ranked import summary
from glc.registry import DATASETS
from glc.visualization import draw_ranked_results

SIZE = (20, 40)
QUERY, FIRST, SECOND = (10, 20, 200), (200, 180, 10), (90, 10, 120)
GREEN, RED, GRAY = (46, 160, 67), (207, 34, 46), (110, 119, 129)


@pytest.fixture
def paths(tmp_path):
    result = []
    for index, color in enumerate((QUERY, FIRST, SECOND)):
        result.append(tmp_path / f'{index}.png')
        Image.new('RGB', (12, 30), color).save(result[-1])
    return result


def columns_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Columns of pixels that hold a color, at the middle of the only row."""
    middle = picture[-SIZE[1] // 2]
    return np.flatnonzero((middle == color).all(1))


def test_images_stand_in_the_order_of_the_ranking_with_their_frames(paths):
    picture = np.asarray(
        draw_ranked_results(paths[:1], paths[1:], np.array([[1, 0]]), np.array([[True, False]]), size=SIZE)
    )
    places = [columns_of(picture, color) for color in (QUERY, SECOND, FIRST)]
    assert [len(place) for place in places] == [SIZE[0]] * 3
    assert places[0].max() < places[1].min() < places[1].max() < places[2].min()
    green, red = columns_of(picture, GREEN), columns_of(picture, RED)
    assert {places[1].min() - 1, places[1].max() + 1} <= set(green.tolist())
    assert {places[2].min() - 1, places[2].max() + 1} <= set(red.tolist())
    assert green.max() < red.min()


def test_unknown_matches_are_gray_and_empty_places_stay_empty(paths):
    picture = np.asarray(draw_ranked_results(paths[:1], paths[1:], np.array([[0, -1]]), size=SIZE))
    first = columns_of(picture, FIRST)
    assert {first.min() - 1, first.max() + 1} <= set(columns_of(picture, GRAY).tolist())
    assert len(columns_of(picture, SECOND)) == 0
    assert len(columns_of(picture, GREEN)) == len(columns_of(picture, RED)) == 0


def test_some_matches_may_be_unknown(paths):
    picture = np.asarray(
        draw_ranked_results(paths[:1], paths[1:], np.array([[0, 1]]), np.array([[-1, 1]]), size=SIZE)
    )
    first, second = columns_of(picture, FIRST), columns_of(picture, SECOND)
    assert {first.min() - 1, first.max() + 1} <= set(columns_of(picture, GRAY).tolist())
    assert {second.min() - 1, second.max() + 1} <= set(columns_of(picture, GREEN).tolist())


def test_rows_stand_below_each_other(paths):
    one = draw_ranked_results(paths[:1], paths[1:], np.array([[0]]), size=SIZE)
    three = draw_ranked_results([paths[0]] * 3, paths[1:], np.array([[0]] * 3), size=SIZE)
    assert three.width == one.width
    assert three.height >= one.height + 2 * SIZE[1]


@pytest.mark.parametrize(
    ('ranking', 'matches'), [([[0], [1]], None), ([0], None), ([[0, 1]], [[True]])], ids=str
)
def test_shapes_that_do_not_agree(paths, ranking, matches):
    with pytest.raises(ValueError, match='must'):
        draw_ranked_results(paths[:1], paths[1:], np.array(ranking), matches, size=SIZE)


def test_the_tool_gives_no_verdict_where_an_identity_is_unknown():
    ranking = np.array([[0, 1, 2], [1, 0, -1], [2, 1, 0]])
    matches = verdicts(ranking, np.array([5, 6, -1]), np.array([5, -1, 6]))
    assert matches.tolist() == [[1, -1, 0], [-1, 0, -1], [-1, -1, -1]]
    assert summary(matches[:, 0]) == '100% of the 1 with a verdict right at rank 1'
    assert summary(np.array([1, 0])) == '50% right at rank 1'
    assert summary(matches[1:, 0]) == 'none with a verdict, as identities are unknown'


def write_test_set(root: Path, people: list[str]) -> None:
    """Queries and gallery images of cameras 1 and 2, in the layout of Market-1501."""
    for folder, camera in (('query', 1), ('bounding_box_test', 2)):
        (root / folder).mkdir()
        for number, person in enumerate(people):
            Image.new('RGB', (8, 16), (10 * number, 50 * camera, 0)).save(
                root / folder / f'{person}_c{camera}s1_{number:06d}_00.jpg'
            )


@pytest.mark.parametrize(
    'dataset',
    [
        dict(type='Market1501'),
        dict(type='ImageFolderReID', pattern='_c(?P<cam>.)', folders=dict(gallery='bounding_box_test')),
        dict(
            type='ImageFolderReID',
            pattern='(?P<pid>[^/]+)_c(?P<cam>.)',
            folders=dict(gallery='bounding_box_test'),
        ),
    ],
    ids=['one number for all', 'no identity', 'one identity'],
)
def test_with_cameras_but_no_identities_nothing_is_green(tmp_path, dataset):
    write_test_set(tmp_path, ['0000'] * 3)
    images = DATASETS.build(dict(**dataset, data_root=str(tmp_path), split='test', check='off'))
    assert set(images.cam_ids.tolist()) == {0, 1}
    found = rank_test(torch.eye(6), images, 'drop', top=3, rerank=False)
    assert found.matches.tolist() == [[-1] * 3] * 3
    with pytest.raises(ValueError, match="cannot be ordered 'worst' first"):
        found.ordered('worst', 2)
    assert len(found.ordered('random', 2)) == 2


@pytest.mark.parametrize('rerank', [False, True])
def test_worst_and_best_queries_come_first(tmp_path, rerank):
    write_test_set(tmp_path, ['0001', '0002', '0003'])
    images = DATASETS.build(dict(type='Market1501', data_root=str(tmp_path), split='test', check='off'))
    queries = torch.eye(3)
    gallery = torch.tensor([[1.0, 0.3, 0.1], [0.0, 0.5, 0.6], [0.5, 0.7, 0.0]])
    found = rank_test(torch.cat([queries, gallery]), images, 'drop', top=3, rerank=rerank)
    if not rerank:
        assert found.ap.tolist() == pytest.approx([1, 1 / 2, 1 / 3])
        assert found.ordered('worst', 2).tolist() == [2, 1]
        assert found.ordered('best', 2).tolist() == [0, 1]
        assert found.ranking[1].tolist() == [5, 4, 3]
    right = images.pids[found.queries][:, None] == images.pids[found.ranking]
    np.testing.assert_array_equal(found.matches, right)
