"""Pictures of labels, features, schedules and curves show what the arrays say."""

import sys

import numpy as np
import pytest
from PIL import Image

from glc.visualization import (
    Row,
    Schedule,
    Tile,
    compare_labels,
    draw_curves,
    draw_feature_map,
    draw_image_rows,
    draw_label_changes,
    draw_schedule,
    embed_features,
)
from glc.visualization.image_rows import COLORS, RED
from glc.visualization.label_changes import KINDS, largest_of_each_kind

# One cluster or more of every kind: labels before and after, of images in order.
EVERY_KIND = {
    'merged': ([0, 0, 1, 1], [0, 0, 0, 0]),
    'split': ([2, 2, 2, 2, 2], [1, 1, 1, 2, 2]),
    'regrouped': ([3, 3, 4, 4], [3, 4, 4, 4]),
    'dropped': ([5, 5], [-1, -1]),
    'new': ([-1, -1], [5, 5]),
    'adjusted': ([6, 6, -1], [6, -1, 6]),
    'kept': ([7, 7], [7, 7]),
}
BEFORE, AFTER = (np.array([label for pair in EVERY_KIND.values() for label in pair[side]]) for side in (0, 1))


def test_every_kind_of_change_is_found():
    changes = compare_labels(BEFORE, AFTER)
    assert [change.kind for change in changes] == list(EVERY_KIND) == list(KINDS)
    starts = np.cumsum([0, *(len(old) for old, _ in EVERY_KIND.values())])
    for change, start, (old, new) in zip(changes, starts, EVERY_KIND.values(), strict=False):
        assert change.images.tolist() == list(range(start, start + len(old)))
        assert set(change.before) == set(old) - {-1}
        assert set(change.after) == set(new) - {-1}
    assert changes[1].after == (1, 2)  # largest first


def test_labels_of_outliers_only_change_nothing():
    assert compare_labels(np.full(3, -1), np.full(3, -1)) == []
    with pytest.raises(ValueError, match='got 2 for 3 images'):
        compare_labels(np.zeros(3, int), np.zeros(2, int))


def test_large_changes_of_all_kinds_come_before_more_of_one_kind():
    before = np.repeat(np.arange(10), 4)
    after = np.concatenate([np.repeat([0, 1, 2], 8), np.full(4, -1), np.repeat([3, 4, 5], 4)])
    kinds = [change.kind for change in largest_of_each_kind(compare_labels(before, after), 4)]
    assert kinds == ['merged', 'merged', 'dropped', 'kept']


@pytest.fixture
def crops(tmp_path):
    """A file of one color for every image."""
    paths = []
    for number in range(len(BEFORE)):
        paths.append(tmp_path / f'{number}.png')
        Image.new('RGB', (10, 20), (255 - number, 0, 255)).save(paths[-1])
    return paths


def columns_of(picture: Image.Image, color: tuple[int, int, int]) -> np.ndarray:
    return np.flatnonzero((np.asarray(picture) == color).all(2).any(0))


def test_changes_stand_side_by_side(crops):
    changes = compare_labels(BEFORE, AFTER)
    merged = changes[0]
    picture = draw_label_changes(crops, BEFORE, AFTER, [merged], size=(20, 40))
    for row in merged.images:
        columns = columns_of(picture, (255 - row, 0, 255))
        assert columns.min() < picture.width // 2 < columns.max()  # before and after
    first, second = (columns_of(picture, color) for color in COLORS[:2])
    assert len(first)
    assert len(second)
    one = draw_label_changes(crops, BEFORE, AFTER, [merged], images=1, size=(20, 40))
    assert sum(len(columns_of(one, (255 - row, 0, 255))) > 0 for row in merged.images) == 2  # of two clusters
    everything = draw_label_changes(crops, BEFORE, AFTER, changes, size=(20, 40))
    assert all(len(columns_of(everything, (255 - row, 0, 255))) for row in range(len(BEFORE)))
    with pytest.raises(ValueError, match='no change'):
        draw_label_changes(crops, BEFORE, AFTER, [])


def test_rows_wrap_and_missing_images_are_said_so(crops, tmp_path):
    tiles = [Tile(crops[0], RED), Tile(np.full((4, 2, 3), 77, np.uint8)), Tile(tmp_path / 'gone.jpg')]
    one, two = (draw_image_rows([Row('title', tiles)], (20, 40), columns) for columns in (3, 2))
    assert two.width < one.width
    assert two.height > one.height + 40
    for color in ((255, 0, 255), RED, (77, 77, 77), (225, 228, 232)):
        assert len(columns_of(one, color))
    with pytest.raises(ValueError, match='rows and columns'):
        draw_image_rows([])


@pytest.mark.parametrize('method', ['pca', 'tsne'])
def test_near_features_are_near_on_the_map(method):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 12)
    features = np.eye(8, dtype=np.float32)[labels] + 0.02 * rng.normal(size=(36, 8)).astype(np.float32)
    positions = embed_features(features, method)
    assert positions.shape == (36, 2)
    centers = np.stack([positions[labels == label].mean(0) for label in range(3)])
    nearest = np.linalg.norm(positions[:, None] - centers, axis=2).argmin(1)
    np.testing.assert_array_equal(nearest, labels)
    np.testing.assert_array_equal(embed_features(features, method), positions)


def test_maps_that_cannot_be_made(monkeypatch):
    with pytest.raises(ValueError, match="one of auto, umap, tsne, pca, got 'ica'"):
        embed_features(np.eye(4), 'ica')
    with pytest.raises(ValueError, match='two images or more, got 1'):
        embed_features(np.eye(1))
    monkeypatch.setitem(sys.modules, 'umap', None)  # not installed
    with pytest.raises(ModuleNotFoundError, match='pip install umap-learn'):
        embed_features(np.eye(9), 'umap')
    assert embed_features(np.eye(9)).shape == (9, 2)  # t-SNE
    with pytest.raises(ValueError, match='groups of this length'):
        draw_feature_map(np.zeros((3, 2)), {'camera': np.zeros(2)})


def test_map_has_a_panel_for_every_grouping():
    groups = {'cluster': np.array([0, 0, 1, -1]), 'camera': np.array([1, 1, 1, 1])}
    figure = draw_feature_map(np.arange(8.0).reshape(4, 2), groups)
    titles = [ax.get_title(loc='left') for ax in figure.axes]
    assert titles == ['by cluster: 2, 1 images in none', 'by camera: 1']
    gray, colored = (part.get_offsets() for part in figure.axes[0].collections)
    assert gray.tolist() == [[6, 7]]
    assert colored.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_curves_show_what_is_there():
    scalars = {
        'loss': {1: 3.0, 2: 2.0},
        'pseudo_labels/labels/pairwise_f': {1: 0.5, 2: 0.6},
        'pseudo_labels/corrected/pairwise_f': {2: 0.7},
        'pseudo_labels/seconds/extract': {1: 5.0},
        'seconds/train': {1: 2.0, 2: 2.5},
    }
    loss, labels, seconds = draw_curves(scalars).axes
    (line,) = loss.lines
    assert line.get_xydata().tolist() == [[1, 3], [2, 2]]
    assert [text.get_text() for text in labels.get_legend().get_texts()] == [
        'before correction',
        'after correction',
    ]
    bars = {(bar.get_y(), bar.get_height()) for bar in seconds.patches}
    assert bars == {(0, 5), (5, 2), (0, 2.5)}  # stacked
    with pytest.raises(ValueError, match='no value of loss'):
        draw_curves({'memory': {1: 2.0}})


def test_schedule_shows_rates_and_events():
    figure = draw_schedule(Schedule(np.array([[0.1], [0.1], [0.001]]), clustering=(1, 2), restart=(3,)))
    rates, events = figure.axes
    assert rates.get_yscale() == 'log'
    np.testing.assert_allclose(rates.patches[0].get_data().values, [0.1, 0.1, 0.001])
    assert [label.get_text() for label in events.get_yticklabels()] == ['clustering', 'restart']
    spans = [[path.vertices[:, 0].mean() for path in part.get_paths()] for part in events.collections]
    assert [np.round(centers).tolist() for centers in spans] == [[1, 2], [3]]
