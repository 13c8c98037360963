import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import normalized_mutual_info_score

from glc.core.evaluation import knn_purity, label_change, label_quality
from tests.utils import shared_data

LABELLINGS = st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3)), min_size=1, max_size=25)


def fraction(part, whole):
    return part / whole if whole else 0.0


def naive_quality(labels, truth, outliers):
    """Image by image and pair by pair."""
    images = [(label, identity) for label, identity in zip(labels, truth, strict=True) if identity >= 0]
    if outliers == 'dropped':
        images = [(label, identity) for label, identity in images if label >= 0]
    images = [(label if label >= 0 else -1 - i, identity) for i, (label, identity) in enumerate(images)]
    pairs = list(itertools.combinations(images, 2))
    both = sum(a[0] == b[0] and a[1] == b[1] for a, b in pairs)
    precision = fraction(both, sum(a[0] == b[0] for a, b in pairs))
    recall = fraction(both, sum(a[1] == b[1] for a, b in pairs))
    precisions, recalls = [], []
    for label, identity in images:
        cluster = [b for a, b in images if a == label]
        same = [a for a, b in images if b == identity]
        precisions.append(cluster.count(identity) / len(cluster))
        recalls.append(same.count(label) / len(same))
    bcubed_precision, bcubed_recall = (fraction(sum(x), len(x)) for x in (precisions, recalls))
    return {
        'pairwise_precision': precision,
        'pairwise_recall': recall,
        'pairwise_f': fraction(2 * precision * recall, precision + recall),
        'bcubed_precision': bcubed_precision,
        'bcubed_recall': bcubed_recall,
        'bcubed_f': fraction(2 * bcubed_precision * bcubed_recall, bcubed_precision + bcubed_recall),
        'nmi': normalized_mutual_info_score(*zip(*images, strict=True)) if images else 0.0,
    }


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(images=LABELLINGS, outliers=st.sampled_from(['singletons', 'dropped']))
def test_equals_pair_by_pair_counts(images, outliers):
    labels, truth = (np.array(column) for column in zip(*images, strict=True))
    scores = label_quality(labels, truth, outliers)
    for name, value in naive_quality(labels, truth, outliers).items():
        assert scores[name] == pytest.approx(value, abs=1e-9), name
    known = labels[truth >= 0]
    assert scores['clusters'] == len(set(known[known >= 0]))
    assert scores['outliers'] == (known < 0).sum()


def test_perfect_labels_score_one():
    truth = torch.tensor([4, 4, 9, 9, 9, 2, 2])
    scores = label_quality(truth + 10, truth)
    assert scores.pop('clusters') == 3
    assert scores.pop('outliers') == 0
    assert set(scores.values()) == {1.0}
    assert all(type(value) is float for value in scores.values())


def test_nothing_to_score_is_zero():
    for labels, truth, outliers in (([-1, -1], [1, 2], 'dropped'), ([0, 0], [-1, -1], 'singletons')):
        scores = label_quality(np.array(labels), np.array(truth), outliers)
        assert all(value == 0 for name, value in scores.items() if name != 'outliers')


def test_bad_arguments():
    with pytest.raises(ValueError, match='got 2 for 3'):
        label_quality(np.zeros(3, int), np.zeros(2, int))
    with pytest.raises(ValueError, match="'ignored'"):
        label_quality(np.zeros(3, int), np.zeros(3, int), 'ignored')
    with pytest.raises(ValueError, match='got 2 for 3'):
        label_change(np.zeros(3, int), np.zeros(2, int))


def test_label_change():
    old = np.array([0, 0, 0, 1, 1, 1, -1, -1])
    assert label_change(old, old) == 0
    assert label_change(old, torch.tensor([7, 7, 7, 3, 3, 3, -1, -1])) == 0
    merged_outliers = label_change(old, np.array([0, 0, 0, 1, 1, 1, 2, 2]))
    moved = label_change(old, np.array([0, 0, 1, 1, 1, 0, -1, -1]))
    assert 0 < merged_outliers < moved <= 1
    assert label_change(old, np.array([0, 1, 2, 0, 1, 2, 0, 1])) == 1


def test_published_scores_of_the_reference_labels():
    truth = np.load(shared_data('labels/market1501_pass_vit_s.npz'))['pid']
    reference = np.load(shared_data('labels/market1501_reference_dbscan.npz'))
    scores = label_quality(reference['eps_0_6'], truth)
    expected = {
        'pairwise_precision': 0.693,
        'pairwise_recall': 0.922,
        'pairwise_f': 0.792,
        'bcubed_precision': 0.805,
        'bcubed_recall': 0.946,
        'bcubed_f': 0.870,
        'clusters': 571,
        'outliers': 12,
    }
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=6e-4), name


def test_knn_purity_is_that_of_a_double_loop():
    rng = np.random.default_rng(0)
    features, truth = rng.normal(size=(40, 6)), rng.integers(-1, 4, 40)
    shares = []
    for i in range(40):
        others = [j for j in range(40) if j != i and truth[j] >= 0]
        cosine = {
            j: features[i] @ features[j] / np.linalg.norm(features[i]) / np.linalg.norm(features[j])
            for j in others
        }
        nearest = sorted(others, key=cosine.get)[-5:]
        shares += [np.mean(truth[nearest] == truth[i])] if truth[i] >= 0 else []
    assert knn_purity(features, truth, k=5) == pytest.approx(np.mean(shares))
    assert knn_purity(torch.from_numpy(features), torch.from_numpy(truth), k=5) == pytest.approx(
        np.mean(shares)
    )


def test_knn_purity_needs_more_images_than_neighbors():
    with pytest.raises(ValueError, match='less than the 2 images'):
        knn_purity(np.eye(3), np.array([0, 1, -1]), k=2)
