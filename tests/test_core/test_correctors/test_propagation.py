"""Voting and propagation against loops over images and dense closed forms; what all correctors have in common."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from glc import FeatureView
from glc.core.correctors import LabelPropagation, NeighborVoting, NoCorrection
from glc.core.labels import compact_labels
from tests.test_core.oracles import clustered_features, dense_similarities, naive_jaccard, naive_ranks

SMALL = {'k1': 12, 'k2': 4}
CORRECTORS = [NoCorrection(), NeighborVoting(k=8), LabelPropagation(**SMALL)]
by_name = pytest.mark.parametrize


def name(part):
    return type(part).__name__


def noisy(seed=0, noise=0.2):
    """Features, truth, and labels of which some are wrong and some missing."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(6, size=90)
    features = np.eye(6, 16)[truth] + noise * rng.normal(size=(90, 16))
    labels = np.where(rng.random(90) < 0.15, rng.integers(6, size=90), truth)
    return features, truth, np.where(rng.random(90) < 0.2, -1, labels)


@by_name('corrector', CORRECTORS, ids=name)
def test_conventions_of_correctors(corrector):
    features, _, labels = noisy()
    before = labels.copy()
    corrected = corrector(features, labels * 3)
    np.testing.assert_array_equal(labels, before)
    assert corrected.dtype == np.int64
    np.testing.assert_array_equal(np.unique(corrected[corrected >= 0]), np.arange(corrected.max() + 1))
    tensor = corrector(torch.from_numpy(features), torch.from_numpy(labels))
    np.testing.assert_array_equal(tensor, corrected)
    np.testing.assert_array_equal(clone(corrector)(FeatureView(features), labels), corrected)
    assert clone(corrector).get_params() == corrector.get_params()
    with pytest.raises(ValueError, match='got 89 for 90 images'):
        corrector(features, labels[1:])


def test_no_correction():
    np.testing.assert_array_equal(NoCorrection()(np.eye(4), np.array([5, -1, 2, 5])), [1, -1, 0, 1])


def naive_voting(features, labels, k, rounds, min_share):
    similarities, ranks = dense_similarities(features), naive_ranks(features, k)
    for _ in range(rounds):
        result = labels.copy()
        for i, neighbors in enumerate(ranks):
            votes, total = {}, 0
            for j in neighbors:
                weight = max(similarities[i, j], 0)
                total += weight
                if labels[j] >= 0:
                    votes[labels[j]] = votes.get(labels[j], 0) + weight
            if votes and max(votes.values()) > min_share * total:
                result[i] = max(votes, key=votes.get)
        labels = result
    return compact_labels(labels)


@by_name('seed', range(3))
@by_name(('k', 'rounds', 'min_share'), [(5, 1, 0.5), (9, 4, 0.5), (8, 2, 0.25), (200, 1, 0.3)])
def test_voting_against_a_loop(seed, k, rounds, min_share):
    features, _, labels = noisy(seed, noise=0.4)
    expected = naive_voting(features, labels, k, rounds, min_share)
    np.testing.assert_array_equal(NeighborVoting(k, rounds, min_share)(features, labels), expected)
    assert (expected != labels).any()


def test_propagation_is_the_closed_form_on_the_dense_graph():
    for seed in range(3):
        features, _, labels = noisy(seed, noise=0.3)
        dense = naive_jaccard(features, 12, 4)
        weights = np.where((dense <= 0.7) & ~np.eye(90, dtype=bool), 1 - dense, 0)
        scale = np.where(weights.sum(axis=1) > 0, weights.sum(axis=1), 1) ** -0.5
        own = (labels[:, None] == np.arange(6)).astype(float)
        shares = np.linalg.solve(np.eye(90) - 0.8 * scale[:, None] * weights * scale, own)
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), 1e-9)
        expected = np.where(shares.max(axis=1) > 0.5, shares.argmax(axis=1), labels)
        np.testing.assert_array_equal(LabelPropagation(**SMALL)(features, labels), expected)
        assert (expected != labels).any()


@by_name('corrector', CORRECTORS[1:], ids=name)
def test_wrong_and_missing_labels_are_corrected(corrector):
    features, truth, labels = noisy(noise=0.05)
    np.testing.assert_array_equal(corrector(features, labels), truth)


@by_name('corrector', CORRECTORS, ids=name)
def test_labels_of_awkward_input(corrector):
    features = clustered_features(40, 3)
    with pytest.warns(match='labels left as they are: no image has a label'):
        assert (corrector(features, np.full(40, -1)) == -1).all()
    assert (corrector(features, np.zeros(40, int)) == 0).all()
    labels = np.array([2, 2, -1])
    for few in (np.zeros((3, 4)), np.eye(3), np.ones((3, 4))):
        assert corrector(few, labels).tolist() in ([0, 0, -1], [0, 0, 0])
    assert corrector(np.ones((1, 4)), np.array([3])).tolist() == [0]


@by_name(
    ('corrector', 'message'),
    [
        (NeighborVoting(min_share=1.0), "'min_share' parameter"),
        (NeighborVoting(k=0), "'k' parameter"),
        (LabelPropagation(alpha=0), "'alpha' parameter"),
        (LabelPropagation(max_distance=1), "'max_distance' parameter"),
    ],
    ids=lambda value: value if isinstance(value, str) else name(value),
)
def test_bad_parameters_of_correctors(corrector, message):
    features, _, labels = noisy()
    with pytest.raises(ValueError, match=message):
        corrector(features, labels)
