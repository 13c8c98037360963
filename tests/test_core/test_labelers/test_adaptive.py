"""AdaptiveConsensus against the best of many fixed neighborhoods and cuts, which were chosen with the identities."""

import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import adjusted_rand_score

from glc import GLC, FeatureView, MetricConsensus
from glc.core.clusterers import DBSCANClusterer, MapEquationClusterer, RelativeMapEquationClusterer
from glc.core.evaluation import label_quality
from glc.core.labelers import JaccardDBSCAN, adaptive
from glc.core.labelers.adaptive import (
    GROWTH,
    LOOSEST,
    AdaptiveConsensus,
    Growth,
    consensus,
    consensus_distance,
    labels_for,
    neighbor_purity,
    one_camera_share,
    response,
    scales_for,
)
from glc.core.neighbors import approximate
from glc.core.neighbors import view as view_module
from glc.core.neighbors.knn import knn_graph
from tests.test_core.oracles import clustered_features, people, seen_by_cameras
from tests.utils import shared_data

MARGIN = 0.02


def scores(labels, truth):
    quality = label_quality(labels, truth)
    return np.array([quality['pairwise_f'], quality['bcubed_f']])


def best_of_fixed(view, truth):
    """The best pairwise F and the best BCubed F that multi-scale communities and DBSCAN reach with fixed numbers."""
    found = [
        scores(MapEquationClusterer(cut, 0.1, 2)(view.distance(scales, 3, 0.8)), truth)
        for scales in ((3, 5, 8), (5, 10, 20), (10, 20, 40), (20, 40, 80))
        for cut in (0.4, 0.5, 0.6, 0.7, 0.8)
    ]
    plain = view.without_cameras()
    found += [
        scores(DBSCANClusterer(eps, samples)(plain.distance(k1, min(k1, 6), 0.7)), truth)
        for k1 in (4, 8, 15, 30)
        for eps in (0.3, 0.4, 0.5, 0.6, 0.7)
        for samples in (2, 4)
    ]
    return np.max(found, axis=0)


def long_tailed():
    """Images of 70 people: 2 to about 50 each, most have few."""
    return np.random.default_rng(1).geometric(0.08, size=70) + 2


SETS = {
    '3 far apart': (np.full(200, 3), 0.6),
    '4': (np.full(150, 4), 1.0),
    '6': (np.full(100, 6), 0.8),
    '10': (np.full(60, 10), 0.8),
    '20': (np.full(30, 20), 1.0),
    '50': (np.full(20, 50), 0.8),
    '50 faint': (np.full(20, 50), 1.0),
    '200': (np.full(8, 200), 0.8),
    'long-tailed': (long_tailed(), 0.7),
    'long-tailed faint': (long_tailed(), 1.0),
    'mixed': (np.random.default_rng(2).choice([3, 6, 12, 25], size=100), 1.0),
}
CASES = [
    pytest.param(*case, cameras, id=f'{name}-{cameras}') for name, case in SETS.items() for cameras in (0, 3)
]
CASES += [  # faint, where giant clusters mislead
    pytest.param(np.full(200, 3), 1.2, 3, id='3 faint-3'),  # without cameras it misses the margin
    pytest.param(np.full(120, 17), 1.2, 0, id='17 faint-0'),
    pytest.param(np.full(120, 17), 1.2, 3, id='17 faint-3'),
]


@pytest.mark.slow
@pytest.mark.parametrize(('sizes', 'noise', 'cameras'), CASES)
def test_about_as_good_as_the_best_fixed_numbers(sizes, noise, cameras):
    features, cams, truth = people(sizes, noise, cameras)
    view = FeatureView(features, cams)
    best = best_of_fixed(view, truth)
    found = scores(AdaptiveConsensus()(view), truth)
    assert (found >= best - MARGIN).all(), f'{found} of {best}'


def test_neighborhoods_grow_with_the_images_per_person():
    final = []
    for count in (4, 10, 20, 50):
        labeler = AdaptiveConsensus()
        labeler(people(np.full(600 // count, count), noise=0.9)[0])
        assert labeler.sizes_[-1] <= 1.5 * count
        final.append(labeler.sizes_[-1])
    assert final == sorted(set(final))


@pytest.mark.slow
@pytest.mark.parametrize(('cameras', 'use_cameras'), [(0, True), (3, True), (3, False)])
@pytest.mark.parametrize('count', [4, 20])
def test_the_last_size_made_the_labels(count, cameras, use_cameras):
    features, cams, truth = people(np.full(600 // count, count), 0.8, cameras)
    labeler = AdaptiveConsensus(use_cameras=use_cameras)
    labels = labeler(features, cams)
    view = FeatureView(features, cams if use_cameras else None)
    distance = view.distance(*scales_for(labeler.sizes_[-1]), LOOSEST)
    np.testing.assert_array_equal(labels, RelativeMapEquationClusterer()(distance))
    assert scores(labels, truth).min() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize('per_person', [5, 15, 60])
@pytest.mark.parametrize('seed', range(2))
def test_the_size_that_fits(per_person, seed):
    """The rule, size by size, written anew: steps count as long as full clusters grow with the neighborhoods."""
    features, _, _ = people(np.full(900 // per_person, per_person), noise=0.8 + 0.2 * seed, seed=seed)
    sizes = consensus(view := FeatureView(features)).sizes
    labels = {s: RelativeMapEquationClusterer()(view.distance(*scales_for(s), LOOSEST)) for s in sizes}
    own = {
        size: np.array([(found == label).sum() if label >= 0 else 1 for label in found])
        for size, found in labels.items()
    }
    assert sizes[0] == pytest.approx(8 / 3)
    responses = []
    for size, following in pairwise(sizes[:-1]):
        assert following == pytest.approx(1.5**0.5 * size)
        full = own[size] >= size
        step = np.log(sum(scales_for(following)[0]) / sum(scales_for(size)[0]))
        rise = np.log(own[following] / own[size])[full].mean() / step if full.any() else 1
        alone = np.interp((labels[size] < 0).mean(), [0.25, 0.75], [0, 1])
        responses.append(alone + (1 - alone) * rise)
    ends = [responses[0], *responses, responses[-1]]
    smooth = [
        (before + 2 * now + after) / 4 for before, now, after in zip(ends, ends[1:], ends[2:], strict=False)
    ]
    smooth[0] = max(smooth[0], smooth[1] - 0.15, smooth[2] - 0.3)
    weights = np.cumprod(np.interp(smooth, [0.4, 0.55], [0, 1]))
    larger = np.interp((labels[sizes[0]] < 0).mean(), [0.03, 0.1], [0, 1])
    grown = 1.2 * 1.5 ** (1.27 / 2 * weights.sum())
    assert sizes[-1] == pytest.approx(min(8 / 3 * grown**larger, 900 / 8))
    assert weights[-2] <= 0.02 or sizes[-2] >= 900 / 8
    assert len(weights) == 4 or all(weights[:-2] > 0.02)
    assert sizes[-3] < 900 / 8


@pytest.mark.slow
def test_a_slow_start_is_forgiven():
    """Hardly any cluster is full at first; then nothing rises, and the outfits of a person join later."""
    rng = np.random.default_rng(2)
    truth = np.arange(60).repeat(24)
    outfits = rng.normal(size=(60, 1, 128)) + 0.5 * rng.normal(size=(60, 3, 128))
    images = outfits.repeat(8, axis=1).reshape(-1, 128) + 1.2 * rng.normal(size=(len(truth), 128))
    features = np.maximum(images @ rng.normal(size=(128, 256)), 0) @ rng.normal(size=(256, 64))
    view = FeatureView(features)
    assert scores(consensus(view).labels, truth).min() > 0.6
    assert scores(consensus(view, rule=Growth(first_margin=2.0)).labels, truth).max() < 0.3


def of_noise_only(sizes, noise, dim, seed=0):
    """Features (N, D) of people whose images differ in nothing but noise of any direction, and their identities."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    centers, directions = (rng.normal(size=(count, dim)) for count in (len(sizes), len(truth)))
    centers, directions = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (centers, directions))
    return centers[truth] + noise * directions, truth


@pytest.mark.slow
@pytest.mark.parametrize(
    ('dim', 'cameras', 'noise'),
    [(64, 0, 0.1), (64, 0, 0.5), (64, 0, 1.0), (256, 0, 0.1), (256, 0, 1.0), (128, 4, 0.5), (128, 4, 1.0)],
)
@pytest.mark.parametrize(
    'sizes',
    [
        np.full(40, 50),
        np.full(20, 100),
        np.full(10, 200),
        np.array([5] * 200 + [200] * 6),
        np.array([10] * 60 + [150] * 6),
    ],
    ids=['50', '100', '200', '5 or 200', '10 or 150'],
)
def test_many_images_that_differ_in_nothing_but_noise(sizes, dim, cameras, noise):
    """Small neighborhoods cut such people anywhere, and what they find grows erratically."""
    features, truth = of_noise_only(sizes, noise, dim)
    cams = np.arange(len(truth)) % cameras if cameras else None
    if cameras:
        features += 0.04 * np.random.default_rng(1).normal(size=(cameras, dim))[cams]
    view = FeatureView(features, cams)
    best = np.max([scores(labels_for(view, size), truth) for size in (9, 13.5, 20, 30, 45)], axis=0)
    assert (scores(AdaptiveConsensus()(view), truth) >= best - MARGIN).all()
    assert best.min() > 0.85


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [np.full(10, 200), np.array([5] * 200 + [200] * 6)])
def test_random_pieces_have_to_be_recognized(sizes):
    features, truth = of_noise_only(sizes, 0.5, 128)
    blind = replace(GROWTH, few_mixed=1.0)
    assert scores(consensus(FeatureView(features), rule=blind).labels, truth)[0] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize('cameras', [0, 3])
@pytest.mark.parametrize(('images', 'noise'), [(3, 1.2), (17, 1.2), (6, 0.8), (20, 1.0)])
def test_neighborhoods_of_other_people_do_not_grow_for_it(images, noise, cameras):
    """Where structure is faint, clusters are mixed, too, but larger neighborhoods do not make them purer."""
    features, cams, _ = people(np.full(max(30, 600 // images), images), noise, cameras)
    found = [consensus(FeatureView(features, cams), rule=replace(GROWTH, few_mixed=few)) for few in (0.15, 1)]
    assert found[0].sizes == found[1].sizes


def test_purity_of_neighbors():
    rng = np.random.default_rng(0)
    for _ in range(20):
        graph = knn_graph(rng.normal(size=(30, 5)), 7)
        labels = rng.integers(-1, 4, size=30)
        found = neighbor_purity(labels, graph)
        for image in range(30):
            others = min((labels == labels[image]).sum(), 7) - 1
            nearest = graph.indices[image, 1 : others + 1].numpy()
            if labels[image] < 0 or not others:
                assert np.isnan(found[image])
            else:
                assert found[image] == pytest.approx((labels[nearest] == labels[image]).mean())


def in_many_looks(num_people, seed):
    """Images (N, 64) of people whose looks change from one image to the next, and their identities."""
    rng = np.random.default_rng(seed)
    features, identities = [], []
    for identity in range(num_people):
        look = usual = rng.normal(size=64)
        for _ in range(rng.integers(8, 26)):
            look = usual + 0.8 * (look - usual) + 1.5 * rng.normal(size=64)
            features.append(look + 1.2 * rng.normal(size=64))
            identities.append(identity)
    return np.array(features), np.array(identities)


@pytest.mark.slow
@pytest.mark.parametrize('seed', [0, 3])
def test_small_changes_of_the_features_change_little(seed):
    """Another machine rounds otherwise, and another day has some images less."""
    features, truth = in_many_looks(80, 0)
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.permutation(len(features))[: len(features) - 12 * (seed > 1)])
    changed = features + 1e-4 * rng.normal(size=features.shape)
    before = scores(AdaptiveConsensus()(features), truth)
    after = scores(AdaptiveConsensus()(changed[kept]), truth[kept])
    np.testing.assert_allclose(after, before, atol=0.04)


@pytest.mark.parametrize('size', [1, 3.4, 4, 7.7, 24, 200])
def test_scales_for_so_many_images(size):
    k1, k2 = scales_for(size)
    for first, second, share in zip(k1, k2, (0.7, 1.2, 1.8, 2.6), strict=True):
        assert abs(first - max(3, share * size)) <= 0.875  # rounded, at another place for each
        assert 1 <= second <= first
        assert abs(second - max(1, share * size / 4)) <= 0.875
    sums = [sum(scales_for(size * factor)[0]) for factor in (1, 1.3)]
    assert sums[0] < sums[1] or size < 2


@pytest.mark.slow
def test_larger_neighborhoods_reach_across_cameras():
    """Clusters of one camera each ask for neighborhoods up to twice as large."""
    features, cams, identity = people(np.full(33, 12), 0.8, 2)
    looks = np.random.default_rng(2).normal(size=(33, 2, features.shape[1]))  # other looks in each camera
    features += 1.2 * looks[identity, cams]
    plain, across = (consensus(FeatureView(features, given)) for given in (None, cams))
    view = FeatureView(features, cams)
    before = RelativeMapEquationClusterer()(view.distance(*scales_for(across.sizes[-2]), LOOSEST))
    share = one_camera_share(before, torch.from_numpy(cams))
    assert 0.8 < share <= 1
    assert across.sizes[-1] == pytest.approx(2 ** ((share - 0.8) / 0.2) * across.sizes[-2])
    assert scores(across.labels, identity).min() > scores(before, identity).min() + 0.05
    assert plain.sizes[-1] == AdaptiveConsensus(use_cameras=False).fit(features, cam_ids=cams).sizes_[-1]


@pytest.mark.slow
@pytest.mark.parametrize('reach', [0.5, 1.0, 1.7])
def test_reach_multiplies_the_neighborhoods_that_fit(reach):
    features, cams, _ = people(np.full(30, 10), 0.9, 3)
    fitting, view = consensus(FeatureView(features, cams)), FeatureView(features, cams, reach=reach)
    size = reach * fitting.sizes[-1]
    assert consensus(view).sizes[-1] == pytest.approx(size)
    np.testing.assert_array_equal(AdaptiveConsensus()(view), labels_for(FeatureView(features, cams), size))
    np.testing.assert_array_equal(
        consensus_distance(view).toarray(),
        FeatureView(features, cams).distance(*scales_for(size), LOOSEST).toarray(),
    )


@pytest.mark.slow
def test_more_reach_joins_more():
    """Recall rises and precision falls, also through the correctors, which take the neighborhoods of the view."""
    features, cams, identity = people(np.full(40, 12), 1.2, 3)
    for corrector in (None, MetricConsensus(), GLC(device='cpu')):
        found = []
        for reach in (1.0, 2.0):
            view = FeatureView(features, cams, reach=reach)
            labels = AdaptiveConsensus()(view)
            found.append(label_quality(labels if corrector is None else corrector(view, labels), identity))
        assert found[1]['pairwise_recall'] > found[0]['pairwise_recall'], corrector
        assert found[1]['pairwise_precision'] < found[0]['pairwise_precision'], corrector


@pytest.mark.slow
@pytest.mark.parametrize('cameras', [0, 3])
@pytest.mark.parametrize(('images', 'noise', 'modes'), [(6, 0.8, 3), (10, 1.0, 2), (25, 1.0, 3)])
def test_regions_decide_for_many_images(monkeypatch, images, noise, modes, cameras):
    """The neighborhoods are nearly those of all images, which are searched once, for as many as are needed."""
    features, cams, identity = people(np.full(4800 // images, images), noise, cameras, modes)
    everyone = consensus(FeatureView(features, cams))
    monkeypatch.setattr(approximate, '_REGION_SIZE', 200)
    monkeypatch.setattr(adaptive, '_MANY_IMAGES', 4000)
    monkeypatch.setattr(adaptive, '_JUDGED_IMAGES', 1200)
    monkeypatch.setattr(view_module, '_LARGE', 0)
    many = FeatureView(features, cams, expected_k=62)
    plain, searched, kept = weakref.ref(many.features), [], []
    search = view_module.unit_knn_graph

    def watched(x, k, *args, **kwargs):
        searched.append((len(x), k))
        kept.append(plain() is not None)
        return search(x, k, *args, **kwargs)

    monkeypatch.setattr(view_module, 'unit_knn_graph', watched)
    found = consensus(many)
    assert kept == [True, cameras == 0]  # beside the centered ones, the others are not needed
    assert found.sizes[-1] == pytest.approx(everyone.sizes[-1], rel=0.1)
    assert (scores(found.labels, identity) > scores(everyone.labels, identity) - 0.005).all()
    (part, expected), (num_images, k) = searched
    assert 1200 < part < 0.7 * num_images
    assert num_images == 4800
    assert (expected, k) == (
        62 * (1 + (cameras > 0)),
        scales_for(found.sizes[-1])[0][-1] * (1 + (cameras > 0)),
    )


def test_share_of_one_camera():
    identity = np.repeat(np.arange(40), 6)
    cams = torch.from_numpy(identity % 2)
    assert one_camera_share(identity, cams) == 1
    assert one_camera_share(identity, None) == 0
    assert one_camera_share(identity, torch.arange(240) % 4) == 0
    assert one_camera_share(np.full(240, -1), cams) == 0
    half = np.where(identity < 20, np.arange(240) % 4, 1)
    assert one_camera_share(identity, torch.from_numpy(half)) == 0.5
    few_known = np.where(identity < 10, np.arange(240) % 4, -1)
    assert one_camera_share(identity, torch.from_numpy(few_known)) == 0
    assert one_camera_share(identity, torch.full((240,), -1)) == 0


def test_response():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 3])
    found = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])  # full are 0 and 2 of 3 and more, and 2 doubles
    step = np.log(sum(scales_for(6)[0]) / sum(scales_for(3)[0]))
    assert response(labels, found, 3, 6) == pytest.approx(3 / 7 * np.log(2) / step)
    assert response(labels, found, 5, 6) == 1  # no cluster is full
    alone = np.where(labels, -1, 0)  # 0.6 of them, and the cluster rises by nothing
    assert response(alone, found, 3, 6) == pytest.approx(0.7)
    assert response(np.array([0, 0, -1, -1, -1, -1, -1, -1]), np.zeros(8, int), 2, 4) == 1


@pytest.mark.slow
def test_cameras_matter():
    features, cams, truth = seen_by_cameras()
    known, ignored = (AdaptiveConsensus(use_cameras=use)(features, cams) for use in (True, False))
    np.testing.assert_array_equal(ignored, AdaptiveConsensus()(features))
    assert (scores(known, truth) > scores(ignored, truth) + 0.1).all()


@pytest.mark.slow
@pytest.mark.parametrize('cameras', [0, 3])
@pytest.mark.parametrize('seed', range(3))
def test_permuting_images_permutes_labels(seed, cameras):
    features, cams, _ = people(np.full(25, 12), 0.7, cameras, seed=seed)
    order = np.random.default_rng(seed).permutation(len(features))
    labels = AdaptiveConsensus()(features, cams)
    permuted = AdaptiveConsensus()(features[order], cams if cams is None else cams[order])
    assert adjusted_rand_score(labels[order], permuted) > 0.999
    np.testing.assert_array_equal(labels[order] < 0, permuted < 0)


@pytest.mark.slow
def test_one_seed_gives_one_result_that_a_view_keeps():
    features, cams, _ = people(np.full(30, 10), 0.8, 3)
    view = FeatureView(features, cams)
    labels = AdaptiveConsensus(seed=3)(view)
    np.testing.assert_array_equal(AdaptiveConsensus(seed=3)(features, cams), labels)
    assert consensus(view, 3) is consensus(view, 3)
    assert consensus(view, 3).labels is not consensus(view, 4).labels
    np.testing.assert_array_equal(consensus(view, 4).labels, AdaptiveConsensus(seed=4)(features, cams))
    assert consensus_distance(view, 3).data.max() <= LOOSEST
    before = consensus_distance(view, 3).copy()
    JaccardDBSCAN(use_cameras=True)(view)
    np.testing.assert_array_equal(consensus_distance(view, 3).toarray(), before.toarray())


def test_one_search_serves_up_to_24_images_per_person(monkeypatch):
    searched = []
    original = view_module.unit_knn_graph

    def counted(x, k, *args, **kwargs):
        searched.append(k)
        return original(x, k, *args, **kwargs)

    monkeypatch.setattr(view_module, 'unit_knn_graph', counted)
    labeler = AdaptiveConsensus()
    labeler(people(np.full(20, 20), 0.8)[0])
    assert searched == [labeler.expected_k] == [63]
    assert set(labeler.timings_) == {'knn', 'jaccard', 'cluster'}
    assert all(seconds > 0 for seconds in labeler.timings_.values())


@pytest.mark.slow
def test_output_is_of_the_kind_of_the_input():
    features, cams, _ = people(np.full(20, 10), 0.8, 3)
    expected = AdaptiveConsensus()(features, cams)
    assert expected.dtype == np.int64
    for kind in (torch.from_numpy(features), torch.from_numpy(features).double() * 7):
        labels = AdaptiveConsensus()(kind, torch.from_numpy(cams))
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels, expected)
    labeler = AdaptiveConsensus(seed=2)
    np.testing.assert_array_equal(clone(labeler).fit_predict(features), labeler(features))
    assert clone(labeler).get_params() == {'backend': 'auto', 'use_cameras': True, 'seed': 2}
    for wrong in ({'seed': -1}, {'backend': 'gpu'}, {'use_cameras': 2}):
        with pytest.raises(ValueError, match=f"'{next(iter(wrong))}' parameter|must be one of"):
            AdaptiveConsensus(**wrong)(features)
    assert labeler.advice(0)


@pytest.mark.slow
def test_degenerate_inputs():
    labeler = AdaptiveConsensus()
    assert labeler(np.ones((1, 4))).tolist() == [-1]
    for count in (2, 3):
        assert set(labeler(np.eye(4)[:count])) <= {-1, 0}
    np.testing.assert_array_equal(labeler(np.ones((1, 4)), np.array([3])), -1)
    for count in (3, 10, 70):
        for features in (np.ones((count, 4)), np.zeros((count, 4))):
            np.testing.assert_array_equal(labeler(features), 0)
            np.testing.assert_array_equal(labeler(features, np.arange(count) % 3), 0)
    few = labeler(clustered_features(9, 2, noise=0.05))  # fewer images than neighbors
    assert few.shape == (9,)
    features = clustered_features(60, 4, noise=0.1)
    labels = labeler(np.concatenate([features, features]))
    np.testing.assert_array_equal(labels[:60], labels[60:])


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'least'),
    [
        ('market1501_pass_vit_s', (0.89, 0.91)),
        ('market1501_weak_256d', (0.765, 0.802)),
        ('cuhk03_osnet_x0_25', (0.555, 0.629)),
    ],
)
def test_real_features(name, least):
    features, cams, truth = real_images(name)
    assert (scores(AdaptiveConsensus()(features, cams), truth) >= least).all()


@pytest.mark.slow
@pytest.mark.parametrize('per_person', [3, 4, 8])
@pytest.mark.parametrize('name', ['market1501_pass_vit_s', 'market1501_weak_256d', 'cuhk03_osnet_x0_25'])
def test_few_images_of_real_people(name, per_person):
    """Among real strangers some look alike, so too large neighborhoods cost more than among made-up ones."""
    features, cams, truth = real_images(name)
    rank = np.empty(len(truth), int)  # of an image among those of its person
    for identity in np.unique(truth):
        own = np.flatnonzero(truth == identity)
        rank[own] = np.random.default_rng(identity).permutation(len(own))
    kept = (rank < per_person) & (truth % 2 == 0)  # of every second person
    view = FeatureView(features[kept], cams[kept])
    best = [
        scores(RelativeMapEquationClusterer()(view.distance(*scales_for(size), LOOSEST)), truth[kept])
        for size in (3, 4, 6, 9, 13)
    ]
    found = scores(AdaptiveConsensus()(view), truth[kept])
    assert (found >= np.max(best, axis=0) - 0.05).all(), f'{found} of {np.max(best, axis=0)}'


def real_images(name):
    """Features, cameras and identities of stored real images."""
    data = np.load(shared_data(f'labels/{name}.npz'))
    if 'feature_scale' in data:
        features = data['features_int8'] * data['feature_scale'][:, None]
    else:
        features = data['features'].astype(np.float32)
    return features, data['cam'].astype(np.int64), data['pid'].astype(np.int64)
