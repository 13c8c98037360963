import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.labelers import JaccardDBSCAN, JaccardHDBSCAN, JaccardLeiden, KMeansLabeler, MultiScaleConsensus
from glc.core.labelers.reliability import (
    SelfPacedReliability,
    cluster_overlap,
    independence_threshold,
    reliable_labels,
)
from tests.test_core.oracles import clustered_features


def companions(labels: np.ndarray, image: int) -> set[int]:
    return {image} if labels[image] < 0 else set(np.flatnonzero(labels == labels[image]).tolist())


def naive_overlap(labels, other):
    return np.array(
        [
            len(companions(labels, i) & companions(other, i))
            / len(companions(labels, i) | companions(other, i))
            for i in range(len(labels))
        ]
    )


def random_labels(rng: np.random.Generator, num_images: int = 30) -> np.ndarray:
    return np.unique(np.append(rng.integers(-1, 6, num_images), -1), return_inverse=True)[1][:-1] - 1


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.floats(0.1, 1.0))
def test_equals_sets_of_images(seed, keep):
    rng = np.random.default_rng(seed)
    labels, looser, tighter = (random_labels(rng) for _ in range(3))
    independence, compactness = cluster_overlap(labels, looser), cluster_overlap(labels, tighter)
    np.testing.assert_array_equal(independence, naive_overlap(labels, looser))
    np.testing.assert_array_equal(compactness, naive_overlap(labels, tighter))

    clusters = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    threshold = independence_threshold(labels, independence, keep)
    passing = [members for members in clusters if independence[members].max() >= threshold]
    assert len(passing) >= max(round(keep * len(clusters)), 1)
    expected, count = np.full(len(labels), -1), 0
    for members in passing:
        kept = members[compactness[members] == compactness[members].max()]
        if len(kept) > 1:
            expected[kept] = count
            count += 1
    np.testing.assert_array_equal(reliable_labels(labels, independence, compactness, threshold), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    'labeler',
    [
        JaccardDBSCAN(eps=0.5, k1=12, k2=3, min_samples=2),
        JaccardDBSCAN(eps='auto', k1=12, k2=3, min_samples=2),
        JaccardLeiden(cut=0.5, k1=12, k2=3),
        MultiScaleConsensus(k1=(6, 12), k2=3),
    ],
    ids=['dbscan', 'auto', 'leiden', 'consensus'],
)
def test_wrapper_equals_three_separate_labelings(labeler):
    features = clustered_features(200, 12, noise=0.45, seed=3)
    cam_ids = np.arange(200) % 3
    reliable = SelfPacedReliability(labeler, gap=0.06)(features, cam_ids)
    labels = labeler(features, cam_ids)
    name = 'eps' if 'eps' in labeler.get_params() else 'cut'
    cut = getattr(labeler, f'{name}_', getattr(labeler, name))
    params = labeler.get_params()
    tighter, looser = (
        type(labeler)(**{**params, name: cut + gap})(features, cam_ids) for gap in (-0.06, 0.06)
    )
    independence, compactness = cluster_overlap(labels, looser), cluster_overlap(labels, tighter)
    threshold = independence_threshold(labels, independence, 0.9)
    np.testing.assert_array_equal(reliable, reliable_labels(labels, independence, compactness, threshold))
    assert reliable.max() > 0
    assert (reliable < 0).sum() > (labels < 0).sum()


def test_the_threshold_of_the_first_call_holds_and_is_handed_on():
    labeler = SelfPacedReliability(JaccardDBSCAN(eps=0.5, k1=12, k2=3, min_samples=2), gap=0.06)
    assert labeler.state_dict() == {}
    labeler(clustered_features(200, 12, noise=0.5, seed=3))
    state = labeler.state_dict()
    later = clustered_features(200, 12, noise=0.3, seed=4)
    expected = labeler(later)
    assert labeler.state_dict() == state
    resumed = SelfPacedReliability(labeler.labeler, gap=0.06)
    resumed.load_state_dict(state)
    np.testing.assert_array_equal(resumed(later), expected)
    resumed.load_state_dict({})
    resumed(later)
    assert resumed.state_dict() != state


def test_outliers_only():
    labels = SelfPacedReliability(JaccardDBSCAN(k1=4, k2=2, min_samples=30))(clustered_features(20, 4))
    assert (labels == -1).all()


def test_mistakes_are_explained():
    features = clustered_features(30, 3)
    with pytest.raises(ValueError, match=r"'labeler' parameter .* an instance of .*JaccardLabeler"):
        SelfPacedReliability(KMeansLabeler(3))(features)
    with pytest.raises(TypeError, match=r'has no cut to loosen and tighten.*distance_threshold'):
        SelfPacedReliability(JaccardHDBSCAN())(features)
    for kwargs in ({'gap': 0}, {'keep': 1.5}):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            SelfPacedReliability(JaccardDBSCAN(k1=6, k2=2), **kwargs)(features)
