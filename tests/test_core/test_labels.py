import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from glc.core.labels import (
    PseudoLabels,
    as_labels,
    as_unit_features,
    cluster_centroids,
    compact_labels,
    with_singletons,
)

LABELS = st.lists(st.integers(-2, 6), min_size=1, max_size=40)


@pytest.mark.parametrize(
    'convert',
    [
        lambda x: x,
        lambda x: x.astype(np.float32),
        lambda x: x[:, ::-1][:, ::-1],
        torch.from_numpy,
        lambda x: torch.from_numpy(x).half(),
        lambda x: torch.from_numpy(x).requires_grad_(),
    ],
    ids=['float64', 'float32', 'strided', 'tensor', 'half', 'grad'],
)
def test_unit_features_accepts_any_kind(convert):
    x = np.random.default_rng(0).normal(size=(7, 5)) * 10
    unit = as_unit_features(convert(x))
    assert unit.dtype == torch.float32
    assert not unit.requires_grad
    np.testing.assert_allclose(unit, x / np.linalg.norm(x, axis=1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(unit.norm(dim=1), 1, atol=1e-6)


NUMBERS = np.arange(12).reshape(4, 3)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


# The same numbers in other clothes.
FORMS = {
    'reversed rows': lambda x: x[::-1].copy()[::-1],
    'reversed columns': lambda x: x[..., ::-1].copy()[..., ::-1],
    'Fortran order': np.asfortranarray,
    'every other': lambda x: np.repeat(x, 2, axis=0)[::2],
    'read-only': read_only,
    'broadcast': lambda x: np.broadcast_to(x, x.shape),
    'list': lambda x: x.tolist(),
    'tuple of arrays': tuple,
    'big endian': lambda x: x.astype('>i8'),
    'uint8': lambda x: x.astype(np.uint8),
    'uint16': lambda x: x.astype(np.uint16),
    'uint64': lambda x: x.astype(np.uint64),
    'int32': lambda x: x.astype(np.int32),
    'tensor': torch.from_numpy,
    'uint64 tensor': lambda x: torch.from_numpy(x.astype(np.uint64)),
    'tensor of rows apart': lambda x: torch.from_numpy(np.repeat(x, 2, axis=0))[::2],
}
REAL_FORMS = {
    'half': lambda x: x.astype(np.float16),
    'bfloat16': lambda x: torch.from_numpy(x).bfloat16(),
    'long double': lambda x: x.astype(np.longdouble),
    'big endian': lambda x: x.astype('>f8'),
}


@pytest.mark.parametrize(
    'form', [*FORMS.values(), *REAL_FORMS.values()], ids=[*FORMS, *(f'real {name}' for name in REAL_FORMS)]
)
@pytest.mark.filterwarnings('error')
def test_features_in_any_form(form):
    assert torch.equal(as_unit_features(form(NUMBERS)), as_unit_features(NUMBERS))


@pytest.mark.parametrize('form', FORMS.values(), ids=FORMS)
@pytest.mark.filterwarnings('error')
def test_labels_in_any_form(form):
    assert as_labels(form(NUMBERS[:, 1])).tolist() == [1, 4, 7, 10]
    assert as_labels(form(NUMBERS[:, 1])).dtype == torch.int64


def test_writing_into_a_result_does_not_reach_read_only_memory():
    unit = read_only(np.eye(3, dtype=np.float32))
    as_unit_features(unit)[0] = 7
    np.testing.assert_array_equal(unit, np.eye(3))


@pytest.mark.parametrize('scale', [1e-300, 1e-60, 1e-30, 1e30, 1e60, 1e300])
def test_features_of_any_size_keep_their_direction(scale):
    x = np.random.default_rng(0).normal(size=(5, 4))
    expected = as_unit_features(x)
    scaled = x.copy()
    scaled[[1, 3]] *= scale
    unit = as_unit_features(scaled)
    np.testing.assert_allclose(unit, expected, rtol=1e-6)
    assert torch.equal(unit[[0, 2, 4]], expected[[0, 2, 4]])


@pytest.mark.parametrize(
    'wrong',
    [
        [['a', 'b'], ['c', 'd']],
        [[1.0, 2.0], [3.0]],
        [[None, 1.0]],
        np.array([[object()]]),
        np.ones((2, 2), complex),
        torch.ones(2, 2, dtype=torch.complex64),
        sparse.eye(3),
        None,
        'text',
        {'a': 1},
        3.0,
    ],
    ids=lambda wrong: type(wrong).__name__,
)
def test_what_is_no_array_of_real_numbers_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match='gallery_features'):
        as_unit_features(wrong, 'gallery_features')


@pytest.mark.parametrize(
    'wrong',
    [
        ['0001', '0002'],
        np.array(['c1', 'c2']),
        [1.0, 2.0],
        [1.0, np.nan],
        [True, False],
        torch.tensor([True, False]),
        [[1], [2, 3]],
        [None, 1],
        [1 + 2j],
        [2**63, 1],
        np.array([3, 2**63 + 5], np.uint64),
        torch.from_numpy(np.array([3, 2**64 - 1], np.uint64)),
        [10**30],
        5,
        'text',
        None,
    ],
    ids=repr,
)
def test_what_is_no_vector_of_integers_is_refused_by_name(wrong):
    with pytest.raises(ValueError, match='query cameras'):
        as_labels(wrong, name='query cameras')


def test_numbers_above_int64_are_counted_and_located():
    with pytest.raises(ValueError, match='labels: 2 of 4 numbers are too large for int64, the first at 1'):
        as_labels(np.array([0, 2**63, 7, 2**64 - 1], np.uint64))


def test_unit_features_share_memory_only_if_nothing_changes():
    raw = torch.randn(6, 4)
    before = raw.clone()
    unit = as_unit_features(raw)
    assert torch.equal(raw, before)
    assert as_unit_features(unit).data_ptr() == unit.data_ptr()


def test_zero_rows_stay_zero_and_extreme_rows_become_unit():
    x = np.array([[0, 0], [3e30, 4e30], [3e-30, 4e-30]], np.float32)
    np.testing.assert_allclose(as_unit_features(x), [[0, 0], [0.6, 0.8], [0.6, 0.8]], rtol=1e-6)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_non_finite_rows_are_named(value):
    x = np.ones((9, 3))
    x[[2, 7], 1] = value
    with pytest.raises(ValueError, match=r'2 of 9 feature rows .*\(rows 2, 7\)'):
        as_unit_features(x)


@pytest.mark.parametrize('shape', [(0, 3), (3, 0), (3,), (2, 3, 4)])
def test_bad_shapes_are_named(shape):
    with pytest.raises(ValueError, match=str(shape).replace('(', r'\(').replace(')', r'\)')):
        as_unit_features(np.ones(shape))


def test_labels_must_be_one_integer_per_image():
    assert as_labels(np.array([1, 2], np.uint16)).dtype == torch.int64
    with pytest.raises(ValueError, match='pids must be an'):
        as_labels(np.array([0.0, 1.0]), name='pids')
    with pytest.raises(ValueError, match='integers'):
        as_labels(np.zeros((2, 2), np.int64))
    with pytest.raises(ValueError, match='got 2 for 3 images'):
        as_labels(np.array([0, 1]), num_images=3)


@settings(deadline=None, max_examples=40)
@given(labels=LABELS, min_size=st.integers(1, 4))
def test_compact_labels_equals_plain_renumbering(labels, min_size):
    kept = sorted({label for label in labels if label >= 0 and labels.count(label) >= min_size})
    expected = [kept.index(label) if label in kept else -1 for label in labels]
    result = compact_labels(np.array(labels), min_size)
    assert result.tolist() == expected
    assert result.dtype == np.int64
    tensor = compact_labels(torch.tensor(labels), min_size)
    assert isinstance(tensor, torch.Tensor)
    assert tensor.tolist() == expected
    np.testing.assert_array_equal(compact_labels(result), result)


@settings(deadline=None, max_examples=40)
@given(labels=LABELS)
def test_singletons_get_new_numbers_of_their_own(labels):
    given = np.array(labels)
    result = with_singletons(given)
    assert result.min() >= 0
    assert given.tolist() == labels
    for label, found in zip(labels, result.tolist(), strict=True):
        assert (found == label) if label >= 0 else (result.tolist().count(found) == 1 and found not in labels)


@pytest.mark.parametrize('unit', [True, False])
def test_centroids_equal_plain_means(unit, monkeypatch):
    monkeypatch.setattr('glc.core.labels._BLOCK_ROWS', 7)
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(50, 6)), rng.integers(-1, 4, size=50)
    rows = features / np.linalg.norm(features, axis=1, keepdims=True) if unit else features
    centroids = cluster_centroids(features, labels, unit_features=unit)
    assert centroids.dtype == torch.float32
    for cluster in range(4):
        mean = np.mean([x for x, label in zip(rows, labels, strict=True) if label == cluster], axis=0)
        np.testing.assert_allclose(centroids[cluster], mean / np.linalg.norm(mean), atol=1e-6)
    pseudo = PseudoLabels.from_features(features, labels, unit_features=unit)
    assert torch.equal(pseudo.centroids, centroids)
    np.testing.assert_allclose(pseudo.features, rows, atol=1e-6)


def test_centroids_of_odd_inputs():
    features = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert cluster_centroids(features, np.array([-1, -1, -1])).shape == (0, 2)
    np.testing.assert_array_equal(cluster_centroids(features, np.array([0, 0, 1])), [[0, 0], [0, 1]])
    with pytest.raises(ValueError, match='gaps'):
        cluster_centroids(features, np.array([0, 0, 2]))
    with pytest.raises(ValueError, match='2 for 3 images'):
        cluster_centroids(features, np.array([0, 0]))


def test_pseudo_labels_are_consistent():
    features = torch.eye(5)
    pseudo = PseudoLabels.from_features(features, np.array([9, 9, -1, 4, -1]))
    assert pseudo.labels.tolist() == [1, 1, -1, 0, -1]
    assert (pseudo.num_clusters, pseudo.num_outliers) == (2, 2)
    torch.testing.assert_close(pseudo.centroids[0], features[3])
    with pytest.raises(dataclasses.FrozenInstanceError):
        pseudo.labels = torch.zeros(5)

    assert torch.equal(pseudo.features, features)
    assert pseudo.cam_ids is None
    doubled = PseudoLabels.from_features(2 * features, pseudo.labels, np.arange(5, dtype=np.int32))
    assert torch.equal(doubled.features, features)
    assert (doubled.cam_ids.dtype, doubled.cam_ids.tolist()) == (torch.int64, [0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match='cam_ids: got 4 for 5 images'):
        PseudoLabels.from_features(features, pseudo.labels, np.arange(4))

    nothing = PseudoLabels.from_features(features, np.full(5, -1))
    assert (nothing.num_clusters, nothing.num_outliers) == (0, 5)


@pytest.mark.parametrize('labels', [[0, 2], [0, 0], [-2, 0, 1], [0, 1, 2]])
def test_pseudo_labels_must_match_the_centroids(labels):
    with pytest.raises(ValueError, match='2 centroids'):
        PseudoLabels(torch.tensor(labels), torch.eye(2))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (
            {'centroids': torch.tensor([[1.0, 0.0], [np.nan, 0.0], [np.inf, 1.0]])},
            '2 of 3 centroids hold NaN .* cluster 1',
        ),
        ({'centroids': torch.eye(3)[0]}, 'centroids must be'),
        ({'centroids': 'text'}, 'centroids'),
        ({'labels': torch.tensor([0, 1, 2, -100])}, '3 centroids'),
        ({'labels': torch.tensor([0.0, 1.0, 2.0, -1.0])}, 'labels must be'),
        ({'features': torch.eye(3)}, 'features: got shape .* for 4 images'),
        ({'features': torch.eye(4)}, r'features: got shape \(4, 4\) .* \(4, 3\) is needed'),
        ({'cam_ids': torch.zeros(3, dtype=torch.int64)}, 'cam_ids: got 3 for 4 images'),
        ({'cam_ids': ['c1'] * 4}, 'cam_ids must be numbers, got text'),
    ],
)
def test_pseudo_labels_of_wrong_fields(change, message):
    fields = dict(labels=torch.tensor([0, 1, 2, -1]), centroids=torch.eye(3), features=torch.eye(4)[:, :3])
    PseudoLabels(**fields)
    with pytest.raises(ValueError, match=message):
        PseudoLabels(**{**fields, **change})
