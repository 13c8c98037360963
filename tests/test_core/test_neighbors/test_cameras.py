"""Camera corrections against dense float64 formulas."""

import numpy as np
import pytest

from glc import FeatureView
from glc.core.neighbors import cameras
from glc.core.neighbors.cameras import balance_cameras, camera_levels, center_cameras, known_cameras
from glc.core.neighbors.knn import knn_graph
from tests.test_core.oracles import seen_by_cameras


def test_center_cameras_against_the_formula(monkeypatch):
    monkeypatch.setattr('glc.core.labels._BLOCK_ROWS', 7)
    features, cams, _ = seen_by_cameras()
    x = features.astype(np.float64)
    for camera in range(3):
        own = cams == camera
        mean = (features[own].astype(np.float64).sum(0) + 20 * features.mean(0)) / (own.sum() + 20)
        x[own] -= mean
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(center_cameras(features, 7 - cams), x, atol=1e-5)


def test_levels_and_balanced_neighbors_against_a_loop(monkeypatch):
    monkeypatch.setattr(cameras, '_BLOCK_SIMILARITIES', 7 * 1024)  # of 48 images of a camera, 7 at once
    monkeypatch.setattr('glc.core.labels._BLOCK_ROWS', 7)
    features, cams, _ = seen_by_cameras(num_ids=12)
    x = features.astype(np.float64)
    similarity = x @ x.T
    np.fill_diagonal(similarity, -1)
    raw = np.array(
        [[np.sort(similarity[cams == a][:, cams == b])[:, -10:].mean() for b in range(3)] for a in range(3)]
    )
    levels = camera_levels(features, cams)
    np.testing.assert_allclose(levels, (raw + raw.T) / 2, atol=1e-5)

    graph = balance_cameras(knn_graph(features, len(x)), cams, levels, k=8, strength=0.5)
    scores = similarity - 0.5 * levels.numpy()[cams[:, None], cams]
    np.fill_diagonal(scores, np.inf)
    np.testing.assert_array_equal(graph.indices, np.argsort(-scores, axis=1)[:, :8])


def test_balanced_neighbors_cross_cameras():
    features, cams, truth = seen_by_cameras()
    plain, balanced = FeatureView(features, cams).graphs(12)
    raw = knn_graph(features, 12)
    right = [(truth[graph.indices] == truth[:, None]).mean() for graph in (raw, plain, balanced)]
    assert right[0] < right[1] <= right[2] + 0.02


def test_the_default_strength_subtracts_half_the_level():
    features, cams, _ = seen_by_cameras(num_ids=12)
    candidates, levels = knn_graph(features, 40), camera_levels(features, cams)
    default = balance_cameras(candidates, cams, levels, k=8)
    half, other = (balance_cameras(candidates, cams, levels, 8, strength) for strength in (0.5, 0.6))
    np.testing.assert_array_equal(default.indices, half.indices)
    assert (default.indices != other.indices).any()


def test_an_unknown_camera_is_no_camera():
    """Images of unknown cameras move by the mean of all images, and their levels are the mean level."""
    features, cams, _ = seen_by_cameras()
    partly = np.where(np.arange(len(cams)) % 4, cams, -1)
    unknown = partly < 0
    expected = features[unknown] - features.mean(0)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(center_cameras(features, partly)[unknown], expected, atol=1e-5)
    levels = camera_levels(features, partly)
    np.testing.assert_allclose(levels[0], np.full(4, levels[1:, 1:].mean()), rtol=1e-6)
    assert known_cameras(None, 5) is None
    assert known_cameras(np.full(5, -1), 5) is None
    assert known_cameras(np.array([-1, 3, 3]), 3) is None
    assert known_cameras(np.array([-7, 3, 4]), 3).tolist() == [-1, 3, 4]
    assert camera_levels(features, np.full(len(cams), -1)).tolist() == [[0.0]]
    assert camera_levels(features, -1 - np.arange(len(cams)) % 2).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_levels_of_other_cameras_are_refused():
    features, cams, _ = seen_by_cameras(num_ids=12)
    with pytest.raises(ValueError, match=r'levels must be \(K, K\) for 3 cameras, got \(2, 2\)'):
        balance_cameras(knn_graph(features, 20), cams, camera_levels(features, cams)[:2, :2], k=8)
