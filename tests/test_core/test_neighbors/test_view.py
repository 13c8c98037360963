"""A view computes once what labelers and correctors share, and the same as they would alone."""

import weakref

import numpy as np
import pytest
import torch

from glc import GLC, FeatureView, JaccardDBSCAN, MetricConsensus, MultiScaleConsensus
from glc.core.labelers import SelfPacedReliability
from glc.core.neighbors import center_cameras, knn_graph, mean_jaccard_distance, view
from glc.core.neighbors.cameras import balance_cameras, camera_levels
from glc.core.neighbors.jaccard import ReciprocalSets
from tests.test_core.oracles import clustered_features, seen_by_cameras

NETWORK = {'hidden_dim': 16, 'epochs': 1, 'subgraphs_per_epoch': 1, 'steps_per_subgraph': 5, 'device': 'cpu'}


@pytest.fixture
def searches(monkeypatch):
    """The k of every search of neighbors that a view makes."""
    found = []
    original = view.unit_knn_graph

    def counted(x, k, *args, **kwargs):
        found.append(k)
        return original(x, k, *args, **kwargs)

    monkeypatch.setattr(view, 'unit_knn_graph', counted)
    return found


def test_labeler_and_corrector_share_one_search(searches):
    features, cams, _ = seen_by_cameras()
    labeler, corrector = (
        MultiScaleConsensus(k1=(6, 12), k2=3),
        GLC(linking='communities', careful=False, scales=(6, 20), k=12, **NETWORK),
    )
    shared = FeatureView(features, cams, expected_k=max(labeler.expected_k, corrector.expected_k))
    labels = labeler(shared)
    corrected = corrector(shared, labels)
    assert searches == [40]  # twice the largest scale, since cameras choose among the neighbors
    np.testing.assert_array_equal(labels, labeler(features, cams))
    np.testing.assert_array_equal(corrected, corrector(features, labels, cams))


@pytest.mark.parametrize(('cam_ids', 'found'), [(None, 15), (np.arange(60) % 2, 30)])
def test_the_first_search_finds_what_is_expected(searches, cam_ids, found):
    shared = FeatureView(clustered_features(60, 4), cam_ids, expected_k=15)
    shared.neighbors(4)
    shared.graphs(15)
    assert searches == [found]


def test_a_larger_k_serves_a_smaller_one(searches):
    features = clustered_features(60, 4)
    shared = FeatureView(features)
    for k in (12, 5, 12, 20, 7):
        np.testing.assert_array_equal(shared.neighbors(k).indices, knn_graph(features, k).indices)
    assert searches == [12, 20]
    assert shared.neighbors(500).k == 60
    shared.neighbors(800)
    assert searches == [12, 20, 500]


def test_what_a_view_computes_is_what_the_functions_compute():
    features, cams, _ = seen_by_cameras()
    shared = FeatureView(features, cams)
    centered = center_cameras(features, cams)
    np.testing.assert_array_equal(shared.centered, centered)
    candidates = knn_graph(centered, 24)
    plain, balanced = shared.graphs(12)
    expected = balance_cameras(candidates, cams, camera_levels(centered, cams), 12)
    np.testing.assert_array_equal(plain.indices, candidates.indices[:, :12])
    np.testing.assert_array_equal(balanced.indices, expected.indices)
    distance = mean_jaccard_distance([(centered, plain), (centered, balanced)], (6, 12), 3, 0.8)
    np.testing.assert_array_equal(shared.distance((6, 12), 3, 0.8).toarray(), distance.toarray())
    assert shared.distance((6, 12), 3, 0.8) is shared.distance([6, 12], 3, 0.8)
    several = mean_jaccard_distance([(centered, plain), (centered, balanced)], (6, 12), (2, 3), 0.8)
    np.testing.assert_array_equal(shared.distance((6, 12), (2, 3), 0.8).toarray(), several.toarray())
    assert abs(several - distance).max() > 0.01
    assert shared.distance((6, 12), 3, 0.5).data.max() <= 0.5 < distance.data.max()


@pytest.mark.slow
@pytest.mark.parametrize('cam_ids', [None, [-1] * 288, [4] * 288, [-1] * 100 + [4] * 188])
def test_cameras_that_cannot_be_told_apart_are_unknown(cam_ids):
    features, _, truth = seen_by_cameras()
    cam_ids = None if cam_ids is None else np.array(cam_ids)
    shared = FeatureView(features, cam_ids)
    assert shared.cam_ids is None
    assert shared.centered is shared.features
    assert len(shared.graphs(5)) == 1
    assert shared.without_cameras() is shared
    glc = GLC(k=12, **NETWORK)
    trained = [
        glc.fit(features, labels=truth, cam_ids=cams).network_.conv1.weight.detach()
        for cams in (cam_ids, None)
    ]
    assert torch.equal(*trained)
    for method in (MultiScaleConsensus(k1=(6, 12), k2=3), MetricConsensus(k1=(6, 12), k2=3)):
        rest = (truth,) if isinstance(method, MetricConsensus) else ()
        np.testing.assert_array_equal(method(features, *rest, cam_ids), method(features, *rest))


def test_a_view_without_cameras():
    features, cams, _ = seen_by_cameras()
    shared = FeatureView(features, cams)
    plain = shared.without_cameras()
    assert plain is shared.without_cameras()
    np.testing.assert_array_equal(plain.neighbors(6).indices, knn_graph(features, 6).indices)
    np.testing.assert_array_equal(JaccardDBSCAN(k1=12, k2=3)(shared), JaccardDBSCAN(k1=12, k2=3)(features))


def test_a_view_hands_on_its_reach():
    features, cams, _ = seen_by_cameras()
    view = FeatureView(features, cams, reach=1.5)
    assert view.without_cameras().reach == view.with_features(view.features).reach == 1.5
    assert view.as_given().reach == view.alone().reach == 1.5
    with pytest.raises(ValueError, match="'reach' parameter of FeatureView"):
        FeatureView(features, reach=0)


def test_a_view_remembers_by_key():
    shared, calls = FeatureView(clustered_features(20, 2)), []

    def make(value):
        return lambda: calls.append(value) or value

    assert [shared.remember(key, make(key)) for key in ('a', ('a', 1), 'a', ('a', 1))] == ['a', ('a', 1)] * 2
    assert calls == ['a', ('a', 1)]
    assert shared.remember('none', make(None)) is None
    assert shared.remember('none', make(3)) is None
    other = shared.with_features(shared.features)
    assert other.remember('a', make(7)) == 7


@pytest.mark.slow
@pytest.mark.parametrize('kind', [np.asarray, torch.as_tensor])
def test_results_are_of_the_kind_of_the_features(kind):
    features, cams, truth = seen_by_cameras()
    shared = FeatureView(kind(features), kind(cams))
    for result in (JaccardDBSCAN(k1=12, k2=3)(shared), MetricConsensus(k1=(6, 12), k2=3)(shared, truth)):
        assert type(result) is type(kind(features))
        assert result.dtype in (np.int64, torch.int64)


def test_labelers_leave_the_distances_of_a_view_alone():
    features, cams, _ = seen_by_cameras()
    shared = FeatureView(features, cams)
    labeler = JaccardDBSCAN(k1=12, k2=3, use_cameras=True)
    before = shared.distance(12, 3, 0.6).copy()
    first = labeler(shared)
    SelfPacedReliability(labeler)(shared)
    np.testing.assert_array_equal(shared.distance(12, 3, 0.6).toarray(), before.toarray())
    np.testing.assert_array_equal(labeler(shared), first)


def test_mistakes_are_explained():
    features, cams, _ = seen_by_cameras()
    with pytest.raises(TypeError, match='a FeatureView has its own cameras'):
        JaccardDBSCAN()(FeatureView(features, cams), cams)
    with pytest.raises(ValueError, match='cam_ids'):
        FeatureView(features, cams[:-1])
    with pytest.raises(ValueError, match="'backend' parameter of FeatureView"):
        FeatureView(features, backend='gpu').neighbors(3)


def test_features_as_given_come_in_any_form():
    features, *_ = seen_by_cameras(num_ids=12)
    expected = FeatureView(features).as_given().features
    for form in (features.tolist(), features[::-1].copy()[::-1], features.astype('>f4')):
        np.testing.assert_array_equal(FeatureView(form).as_given().features, expected)


@pytest.mark.parametrize('cameras', [False, True])
@pytest.mark.parametrize('dtype', [np.float16, np.float32])
def test_features_of_very_many_images_are_let_go_and_made_anew(dtype, cameras, monkeypatch):
    features = clustered_features(120, 10)
    cams = np.arange(len(features)) % 3 if cameras else None
    given = (3 * features).astype(dtype)  # not of unit length, so that the view makes its own
    kept = FeatureView(given, cams)
    expected = kept.features, kept.centered, kept.distance(12, 3).toarray()
    monkeypatch.setattr(view, '_LARGE', given.size - 1)
    lean = FeatureView(given, cams)
    plain, centered = weakref.ref(lean.features), weakref.ref(lean.centered)
    lean.release(centered=False)
    assert (plain() is None) == cameras  # without cameras, they are the centered ones
    assert centered() is not None
    np.testing.assert_array_equal(lean.distance(12, 3).toarray(), expected[2])
    assert plain() is None
    assert centered() is None
    torch.testing.assert_close((lean.features, lean.centered), expected[:2], rtol=0, atol=0)
    few = FeatureView(given[:-1], cams[:-1] if cameras else None)
    plain = weakref.ref(few.features)
    few.release()
    assert plain() is not None


def test_features_are_gone_before_the_distances_are_made(monkeypatch):
    monkeypatch.setattr(view, '_LARGE', 0)
    lean = FeatureView(3 * clustered_features(120, 10))
    features = weakref.ref(lean.features)
    compute, alive = ReciprocalSets.distance, []
    monkeypatch.setattr(
        ReciprocalSets, 'distance', lambda *args: alive.append(features() is not None) or compute(*args)
    )
    lean.distance(12, 3)
    assert alive == [False]
