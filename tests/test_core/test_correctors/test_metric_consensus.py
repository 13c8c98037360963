"""The learned metric against dense float64 formulas and on planted noise."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from sklearn.base import clone
from sklearn.covariance import oas

from glc.core.clusterers import RelativeMapEquationClusterer
from glc.core.correctors import GLC, MetricConsensus, UnusableLabelsError
from glc.core.correctors.base import penalize_different_labels
from glc.core.correctors.whitening import within_class_whitening
from glc.core.evaluation import label_quality
from glc.core.labelers import AdaptiveConsensus, MultiScaleConsensus
from glc.core.labelers.adaptive import LOOSEST, consensus, scales_for
from glc.core.neighbors import FeatureView, center_cameras
from glc.core.neighbors.jaccard import mean_jaccard_distance
from tests.test_core.oracles import people, seen_by_cameras


@pytest.mark.parametrize('shrinkage', [0.1, 0.5, 1.0])
def test_whitening_is_the_inverse_root_of_the_shrunk_covariance(shrinkage, monkeypatch):
    monkeypatch.setattr('glc.core.labels._BLOCK_ROWS', 7)
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 5)) * [3, 1, 1, 1, 0.3], rng.integers(4, size=200)
    covariance = sum(np.cov(features[labels == c].T, bias=True) * (labels == c).sum() for c in range(4))
    covariance /= np.trace(covariance) / 5
    expected = np.linalg.inv(sqrtm((1 - shrinkage) * covariance + shrinkage * np.eye(5)).real)
    metric = within_class_whitening(torch.tensor(features), torch.tensor(labels), shrinkage)
    np.testing.assert_allclose(metric, expected, atol=1e-5)


@pytest.mark.parametrize('spread', [[1, 1, 1, 1, 1, 1], [3, 2, 1, 1, 1, 1]])
def test_few_images_shrink_as_in_scikit_learn(spread):
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 4
    features = rng.normal(size=(24, 6)) * spread
    residuals = features - np.stack([features[labels == c].mean(0) for c in range(4)])[labels]
    # scikit-learn counts images, not degrees of freedom: rotated residuals of 20 images have the same covariance.
    rotated = np.linalg.svd(residuals, full_matrices=False)
    shrinkage = oas(np.pad(rotated[1][:, None] * rotated[2], ((0, 14), (0, 0))), assume_centered=True)[1]
    assert shrinkage > 0.1
    np.testing.assert_allclose(
        within_class_whitening(torch.tensor(features), torch.tensor(labels), 1e-6),
        within_class_whitening(torch.tensor(features), torch.tensor(labels), float(shrinkage)),
        atol=1e-5,
    )


@pytest.mark.slow
@pytest.mark.parametrize('cameras', [0, 3])
def test_labels_of_the_consensus_give_way_to_its_view_in_the_learned_metric(cameras):
    features, cams, _ = people(np.full(150, 4), noise=1.0, cameras=cameras)
    view = FeatureView(features, cams)
    labels = AdaptiveConsensus()(view)
    corrector = MetricConsensus()
    corrected = corrector(view, labels)
    np.testing.assert_array_equal(corrected, MetricConsensus(careful=False)(view, labels))
    learned = FeatureView((view.centered - corrector.mean_) @ corrector.metric_, cams)
    k1, k2 = scales_for(consensus(view).sizes[-1])
    graphs = [(seen.centered, graph) for seen in (view, learned) for graph in seen.graphs(k1[-1])]
    assert len(graphs) == (4 if cameras else 2)
    distance = mean_jaccard_distance(graphs, k1, k2, LOOSEST)
    expected = RelativeMapEquationClusterer()(penalize_different_labels(distance, labels, 0.05))
    np.testing.assert_array_equal(corrected, expected)
    assert (expected != labels).any()


def noisy(truth, kind, seed=0):
    rng = np.random.default_rng(seed)
    if kind == 'merged':
        return truth // 2
    if kind == 'split':
        return 2 * truth + rng.integers(2, size=len(truth))
    if kind == 'outliers':
        return np.where(rng.random(len(truth)) < 0.4, -1, truth)
    return np.where(rng.random(len(truth)) < 0.3, rng.integers(truth.max() + 1, size=len(truth)), truth)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['merged', 'split', 'outliers', 'wrong'])
@pytest.mark.parametrize('with_cameras', [False, True])
def test_planted_noise_is_corrected(kind, with_cameras):
    features, cams, truth = seen_by_cameras(camera=1.2 if with_cameras else 0.0)
    labels = noisy(truth, kind)
    corrector = MetricConsensus(k1=(6, 12), k2=3, careful=False)
    corrected = corrector(features, labels, cams if with_cameras else None)
    before, after = (label_quality(found, truth) for found in (labels, corrected))
    assert after['pairwise_f'] > max(before['pairwise_f'], 0.95)
    assert after['bcubed_f'] > max(before['bcubed_f'], 0.95)


@pytest.mark.slow
def test_cameras_reach_labelers_and_correctors():
    features, cams, truth = seen_by_cameras()
    small = {
        'hidden_dim': 16,
        'epochs': 1,
        'subgraphs_per_epoch': 1,
        'steps_per_subgraph': 20,
        'device': 'cpu',
    }
    labels = MultiScaleConsensus(k1=(6, 12), k2=3)(features, cams)
    for method in (
        lambda cam_ids: MultiScaleConsensus(k1=(6, 12), k2=3)(features, cam_ids),
        lambda cam_ids: MetricConsensus(k1=(6, 12), k2=3, careful=False)(features, labels, cam_ids),
        lambda cam_ids: GLC(k=12, careful=False, **small)(features, labels, cam_ids),
    ):
        known, unknown = (label_quality(method(cam_ids), truth)['pairwise_f'] for cam_ids in (cams, None))
        assert known > unknown


@pytest.mark.slow
@pytest.mark.parametrize('linking', ['communities', 'components'])
def test_glc_learns_from_features_without_cameras(linking):
    features, cams, truth = seen_by_cameras()
    centered = center_cameras(features, cams).numpy()
    options = {
        'k': 12,
        'hidden_dim': 16,
        'epochs': 1,
        'subgraphs_per_epoch': 1,
        'steps_per_subgraph': 20,
        'linking': linking,
        'device': 'cpu',
    }
    plain, known, by_hand, ignored = (
        GLC(**options).fit(features, labels=truth),
        GLC(**options).fit(features, labels=truth, cam_ids=cams),
        GLC(**options).fit(centered, labels=truth),
        GLC(**options, use_cameras=False).fit(features, labels=truth, cam_ids=cams),
    )
    assert known.history_ == pytest.approx(by_hand.history_, rel=1e-4)
    assert known.history_ != pytest.approx(plain.history_, rel=1e-2)
    assert ignored.history_ == plain.history_


def test_unusable_labels_and_parameters():
    features, _, truth = seen_by_cameras(num_ids=6)
    with pytest.raises(UnusableLabelsError, match='1 clusters'):
        MetricConsensus().fit(features, labels=np.zeros_like(truth))
    with pytest.raises(UnusableLabelsError, match='0 clusters'):
        MetricConsensus().fit(features, labels=np.full_like(truth, -1))
    with pytest.raises(UnusableLabelsError, match='two different images'):
        MetricConsensus().fit(features, labels=np.arange(len(truth)))
    for wrong in ({'shrinkage': 0}, {'label_weight': -0.1}, {'follow_share': 1.5}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter"):
            MetricConsensus(**wrong).fit(features, labels=truth)
    with pytest.raises(ValueError, match='fitted on features of 32 channels'):
        MetricConsensus().fit(features, labels=truth).predict(features[:, :8])
    with pytest.warns(UserWarning, match='labels left as they are'):
        MetricConsensus()(features, np.full_like(truth, -1))
    assert clone(MetricConsensus(k2=4)).get_params()['k2'] == 4


@pytest.mark.parametrize(
    'make',
    [
        lambda: MetricConsensus(k1=(6, 12), k2=3, careful=False),
        pytest.param(lambda: GLC(linking='communities', careful=False, device='cpu'), marks=pytest.mark.slow),
    ],
)
def test_images_that_resemble_nobody_follow_their_label(make):
    features, _, truth = seen_by_cameras(spread=0.3, camera=0.0)
    alone = np.arange(0, len(truth), 36)  # one image of every third person
    features[alone] = np.random.default_rng(5).normal(size=(len(alone), 32))
    corrector = make().fit(features, labels=truth)
    assert (corrector.predict(features)[alone] == -1).all()
    leaning = corrector.predict(features, labels=truth)
    np.testing.assert_array_equal(leaning[alone], leaning[alone + 1])
    assert (leaning[alone] >= 0).all()
    np.testing.assert_array_equal(make()(features, truth), leaning)


@pytest.mark.slow
def test_metric_consensus_leans_on_labels_by_their_weight():
    features, _, truth = seen_by_cameras(spread=0.3, camera=0.0)
    halves = 2 * truth + np.tile([0, 1], len(truth) // 2)
    together, apart = (
        MetricConsensus(k1=(6, 12), k2=3, label_weight=weight)(features, halves) for weight in (0.05, 1.0)
    )
    assert len(np.unique(together)) == 24
    assert len(np.unique(apart)) == 48
