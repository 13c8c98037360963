"""The engine of one labeling, without a network."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from glc import GLC, AdaptiveConsensus, JaccardDBSCAN, MetricConsensus
from glc.core.correctors import BaseCorrector
from glc.core.labelers import BaseLabeler
from glc.core.labelers.adaptive import consensus
from glc.core.neighbors import FeatureView
from glc.core.neighbors import view as view_module
from glc.engine import labeling as labeling_module
from glc.engine.labeling import LabelEngine, TooFewClustersError
from tests.test_core.oracles import clustered_features, seen_by_cameras


class Extractor:
    """Gives the same features whatever the network."""

    def __init__(self, features):
        self.features = features
        self.dataset = SimpleNamespace(cam_ids=np.full(len(features), -1))

    def __call__(self, network):
        return self.features


@pytest.mark.parametrize('unit', [True, False])
def test_centroids_are_means_of_what_the_labeler_sees(unit):
    norms = torch.linspace(0.5, 1.5, 80)[:, None]
    features = nn.functional.normalize(torch.from_numpy(clustered_features(80, 4, seed=1))) * norms
    engine = LabelEngine(JaccardDBSCAN(k1=10, k2=3, unit_features=unit))
    labeling = engine(Extractor(features), nn.Identity(), correct=False)
    pseudo = labeling.pseudo
    assert pseudo.num_clusters > 1
    for cluster, centroid in enumerate(pseudo.centroids):
        members = features[pseudo.labels == cluster]
        mean = (nn.functional.normalize(members) if unit else members).double().mean(0)
        torch.testing.assert_close(centroid, nn.functional.normalize(mean, dim=0).float())
        cosines = (nn.functional.normalize(members) @ centroid.to(members)).float()
        torch.testing.assert_close(labeling.certainty[pseudo.labels == cluster], cosines)


@pytest.mark.slow
def test_one_labeling_searches_once_and_keeps_nothing(monkeypatch):
    searched, views = [], []
    search, make = view_module.unit_knn_graph, labeling_module.FeatureView

    def counted(x, k, *args, **kwargs):
        searched.append(k)
        return search(x, k, *args, **kwargs)

    def watched(*args, **kwargs):
        view = make(*args, **kwargs)
        views.append(weakref.ref(view))
        return view

    monkeypatch.setattr(view_module, 'unit_knn_graph', counted)
    monkeypatch.setattr(labeling_module, 'FeatureView', watched)
    features, cams, _ = seen_by_cameras()
    extract = Extractor(torch.from_numpy(features))
    extract.dataset.cam_ids = cams
    corrector = GLC(
        linking='communities', subgraphs_per_epoch=1, epochs=1, steps_per_subgraph=2, device='cpu'
    )
    labeler = AdaptiveConsensus()
    labeling = LabelEngine(labeler, corrector)(extract, nn.Identity(), correct=True)
    assert labeling.corrected
    gc.collect()  # imports within leave frames in cycles
    assert [view() for view in views] == [None]
    assert searched == [2 * max(labeler.expected_k, corrector.expected_k)]


class GivenLabels(BaseLabeler):
    """Gives labels whatever the features."""

    def __init__(self, labels):
        self.labels = labels

    def _label(self, view):
        return np.array(self.labels)


class GivenCorrection(BaseCorrector):
    """Gives labels whatever the labels."""

    def __init__(self, labels):
        self.labels = labels

    def _correct(self, view, labels):
        return np.array(self.labels)


PAIR, TRIPLES = [3, 3, 0, 0, 0, 1, 1, 1], [-1, -1, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ('labels', 'corrected', 'expected', 'problem'),
    [
        (PAIR, None, TRIPLES, None),
        (TRIPLES, PAIR, TRIPLES, None),
        (PAIR, [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1], None),
        (PAIR, [0, 0, 1, 1, 2, 2, 2, 2], TRIPLES, 'fewer than two clusters of 3 images and more'),
    ],
)
def test_small_clusters_are_left_out(labels, corrected, expected, problem):
    corrector = corrected and GivenCorrection(corrected)
    engine = LabelEngine(GivenLabels(labels), corrector, min_images=3)
    labeling = engine(Extractor(torch.eye(8)), nn.Identity(), correct=True)
    assert labeling.pseudo.labels.tolist() == expected
    assert len(labeling.pseudo.centroids) == 2
    assert labeling.labels.tolist() == labels
    assert (labeling.problem or '').endswith(problem or '')
    assert labeling.certainty.isnan().tolist() == [label < 0 for label in expected]


def test_too_few_large_clusters_are_an_error():
    engine = LabelEngine(GivenLabels(PAIR), min_images=4)
    message = 'found 0 clusters of 4 images and more and 8 outliers among 8 images.*: lower min_images'
    with pytest.raises(TooFewClustersError, match=message):
        engine(Extractor(torch.eye(8)), nn.Identity(), correct=True)


def test_labels_of_earlier_features_and_centroids_of_new_ones():
    start = torch.from_numpy(clustered_features(90, 6, seed=1))
    noise = torch.randn(3, *start.shape, generator=torch.Generator().manual_seed(0))
    engine, labeler = LabelEngine(JaccardDBSCAN(k1=10, k2=3)), JaccardDBSCAN(k1=10, k2=3)
    before, of_new_features_alone = None, []
    for features, weight in zip(start + 0.3 * noise, (0.5, 0.5, 2.0), strict=True):
        labeling = engine(Extractor(features), nn.Identity(), correct=False, history=weight)
        x = both = nn.functional.normalize(features.double())
        if before is not None:
            both = nn.functional.normalize(x + weight * before)
        before = engine.earlier.double()
        torch.testing.assert_close(before, both, atol=1e-3, rtol=0)
        np.testing.assert_array_equal(labeling.labels, labeler(both))
        of_new_features_alone.append(torch.equal(labeling.labels, labeler(features)))
        members = labeling.pseudo.labels == 0
        center = nn.functional.normalize(x[members].sum(0), dim=0)
        torch.testing.assert_close(labeling.pseudo.centroids[0].double(), center, atol=1e-5, rtol=0)
        torch.testing.assert_close(
            labeling.certainty[members].double(), x[members] @ center, atol=1e-5, rtol=0
        )
    assert of_new_features_alone == [True, False, False]
    engine(Extractor(features), nn.Identity(), correct=False)
    assert engine.earlier is None


@pytest.mark.slow
def test_reach_is_that_of_labeler_and_corrector():
    features, cams, _ = seen_by_cameras()
    extract = Extractor(torch.from_numpy(features))
    extract.dataset.cam_ids = cams
    engine = LabelEngine(AdaptiveConsensus(), MetricConsensus())
    found = {}
    for reach in (1.0, 1.6):
        labeling = engine(extract, nn.Identity(), correct=True, reach=reach)
        view = FeatureView(features, cams, reach=reach)
        np.testing.assert_array_equal(labeling.labels, AdaptiveConsensus()(view))
        np.testing.assert_array_equal(labeling.pseudo.labels, MetricConsensus()(view, labeling.labels))
        found[reach] = engine.labeler.sizes_[-1]
    assert found[1.6] == pytest.approx(1.6 * found[1.0])


@pytest.mark.slow
@pytest.mark.parametrize('leave_out', [False, True])
def test_strangers_are_left_out_where_the_engine_says_so(leave_out):
    rng = np.random.default_rng(0)
    sizes = np.append(rng.integers(4, 25, 50), np.ones(350, np.int64))
    features = rng.normal(size=(len(sizes), 128)).repeat(sizes, axis=0) + 0.9 * rng.normal(
        size=(sizes.sum(), 128)
    )
    features = features.astype(np.float32) / np.linalg.norm(features, axis=1, keepdims=True)
    engine = LabelEngine(AdaptiveConsensus(), leave_out_strangers=leave_out)
    labeling = engine(Extractor(torch.from_numpy(features)), nn.Identity(), correct=False)
    view = FeatureView(features, leave_out_strangers=leave_out)
    np.testing.assert_array_equal(labeling.labels, AdaptiveConsensus()(view))
    assert view.without_cameras().leave_out_strangers == leave_out
    assert consensus(view).strangers.any() == leave_out
