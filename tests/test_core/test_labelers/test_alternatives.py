"""Other labelers against scikit-learn and SciPy on dense distances."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.base import clone
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_rand_score

from glc.core.clusterers import map_equation_communities
from glc.core.labelers import (
    CosineMapEquation,
    JaccardAgglomerative,
    JaccardHDBSCAN,
    JaccardLeiden,
    KMeansLabeler,
)
from glc.core.labels import compact_labels
from tests.test_core.oracles import clustered_features, naive_jaccard

SMALL = {'k1': 12, 'k2': 4}
LABELERS = [
    KMeansLabeler(8),
    JaccardHDBSCAN(k1=20),
    JaccardAgglomerative(k1=20),
    JaccardLeiden(k1=20),
    CosineMapEquation(),
]
by_name = pytest.mark.parametrize


def name(part):
    return type(part).__name__


@by_name('labeler', LABELERS, ids=name)
def test_well_separated_people_are_found(labeler):
    features = clustered_features(160, 8, noise=0.06)
    truth = KMeans(8, random_state=1, n_init=5).fit_predict(
        features / np.linalg.norm(features, axis=1, keepdims=True)
    )
    labels = labeler(features)
    assert labels.dtype == np.int64
    assert adjusted_rand_score(truth, labels) == 1
    np.testing.assert_array_equal(np.unique(labels), np.arange(8))
    tensor = labeler(torch.from_numpy(features))
    assert tensor.dtype == torch.int64
    np.testing.assert_array_equal(tensor, labels)
    np.testing.assert_array_equal(clone(labeler).fit_predict(features), labels)
    assert clone(labeler).get_params() == labeler.get_params()


@pytest.mark.slow
@by_name('seed', range(3))
@by_name(
    ('options', 'agreement'),
    [
        ({'min_samples': 1}, 1),
        ({'min_samples': 1, 'min_cluster_size': 3, 'selection': 'leaf'}, 1),
        ({'min_samples': 4}, 0.97),  # many equal distances, which scikit-learn takes in any order
    ],
    ids=str,
)
def test_hdbscan_of_the_sparse_is_that_of_the_dense_distances(seed, options, agreement):
    features = clustered_features(120, 9, noise=0.2, seed=seed)
    labeler = JaccardHDBSCAN(**options, **SMALL)
    dense = HDBSCAN(
        labeler.min_cluster_size,
        labeler.min_samples,
        metric='precomputed',
        cluster_selection_method=labeler.selection,
        copy=True,
    ).fit_predict(naive_jaccard(features, 12, 4))
    labels = labeler(features)
    assert labels.max() > 0
    assert adjusted_rand_score(dense, labels) >= agreement


def test_hdbscan_takes_min_samples_from_the_cluster_size():
    features = clustered_features(120, 9, noise=0.2)
    default, same, other = (
        JaccardHDBSCAN(4, samples, **SMALL)(features).tolist() for samples in (None, 4, 1)
    )
    assert default == same != other


def test_hdbscan_leaves_far_images_alone():
    """Apart from two dense groups: one image with no neighbor nearer than 1, and a group that is too small."""
    groups = [np.eye(40)[[0] * 12], np.eye(40)[[1] * 12], np.eye(40)[[2] * 4], np.eye(40)[[3]]]
    features = np.concatenate(groups) + 0.02 * np.random.default_rng(0).normal(size=(29, 40))
    labels = JaccardHDBSCAN(k1=4, k2=1, min_samples=3)(features)
    np.testing.assert_array_equal(labels[24:], -1)
    assert len(set(labels[:12]) & set(labels[12:24]) - {-1}) == 0
    assert (labels >= 0).sum() >= 16


@pytest.mark.slow
@by_name('threshold', [0.3, 0.6, 0.9])
def test_agglomerative_is_scipys_average_linkage_of_the_dense_distances(threshold):
    features = clustered_features(120, 9, noise=0.3)
    dense = naive_jaccard(features, 12, 4)
    merges = linkage(squareform(dense, checks=False), 'average')
    expected = compact_labels(fcluster(merges, threshold, 'distance').astype(np.int64), 3)
    labels = JaccardAgglomerative(threshold, min_cluster_size=3, **SMALL)(features)
    assert labels.max() > 0
    assert adjusted_rand_score(expected, labels) == 1
    np.testing.assert_array_equal(labels < 0, expected < 0)


def modularity(labels, weights, resolution):
    """Of the communities and of single images, by the definition; weights without a diagonal."""
    degrees, total = weights.sum(axis=1), weights.sum()
    gain = weights / total - resolution * np.outer(degrees, degrees) / total**2
    return gain[labels[:, None] == labels].sum()


def test_leiden_beats_the_truth_in_modularity_and_resolution_splits():
    features = clustered_features(120, 6, noise=0.2)
    dense = naive_jaccard(features, 12, 4)
    weights = np.where((dense <= 0.7) & ~np.eye(120, dtype=bool), 1 - dense, 0)
    counts = []
    for resolution in (1.0, 8.0):
        labels = JaccardLeiden(0.7, resolution, min_cluster_size=1, **SMALL)(features)
        counts.append(labels.max() + 1)
        others = [KMeansLabeler(count)(features) for count in (counts[-1], 6, 20)]
        best = max(modularity(other, weights, resolution) for other in others)
        assert modularity(labels, weights, resolution) >= best
    assert counts[0] < counts[1]


def test_kmeans_is_scikit_learns_on_unit_features():
    features = clustered_features(90, 5, noise=0.3)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for seed in (0, 1):
        expected = KMeans(7, random_state=seed).fit_predict(unit)
        assert adjusted_rand_score(expected, KMeansLabeler(7, seed)(features * 3)) > 0.99


@by_name(('k', 'min_similarity', 'min_size'), [(15, 0.5, 5), (6, 0.55, 4)])
def test_cosine_map_equation_is_that_of_the_links_of_cluster_contrast(k, min_similarity, min_size):
    features = clustered_features(150, 9, noise=0.35)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    weights = np.zeros((150, 150))
    for i, similarities in enumerate(unit.astype(np.float64) @ unit.T):
        for j in np.argsort(-similarities)[:k]:
            if j != i and similarities[j] >= min_similarity:
                weights[i, j] += similarities[j]
                weights[j, i] += similarities[j]
    expected = map_equation_communities(sparse.csr_array(weights), min_size)
    labels = CosineMapEquation(k, min_similarity, min_size)(features, np.arange(150) % 3)
    assert labels.max() > 2
    assert (labels < 0).any()
    np.testing.assert_array_equal(labels, expected)


def test_labels_of_awkward_features():
    same, zero, few = np.ones((30, 4)), np.zeros((30, 4)), np.eye(3)
    for features in (same, zero):
        assert (JaccardHDBSCAN()(features) <= 0).all()  # it knows no cluster of all images
        for labeler in (JaccardAgglomerative(), JaccardLeiden()):
            np.testing.assert_array_equal(labeler(features), 0)
        with pytest.warns(match='distinct clusters'):
            np.testing.assert_array_equal(KMeansLabeler(4)(features), 0)
    assert sorted(KMeansLabeler()(few)) == [0, 1, 2]
    for labeler in (JaccardHDBSCAN(), JaccardAgglomerative(), JaccardLeiden()):
        np.testing.assert_array_equal(labeler(few), -1)
        np.testing.assert_array_equal(labeler(few[:1]), -1)
    features = clustered_features(60, 4, noise=0.1)
    for labeler in LABELERS:
        labels = labeler(np.concatenate([features, features]))
        assert (labels[:60] == labels[60:]).mean() > 0.95


@by_name(
    ('labeler', 'message'),
    [
        (JaccardHDBSCAN(selection='best'), 'selection'),
        (JaccardHDBSCAN(min_cluster_size=1), 'min_cluster_size'),
        (JaccardHDBSCAN(min_samples=0), 'min_samples'),
        (JaccardAgglomerative(1.0), 'distance_threshold'),
        (JaccardLeiden(cut=0), 'cut'),
        (KMeansLabeler(0), 'num_clusters'),
    ],
    ids=lambda value: value if isinstance(value, str) else name(value),
)
def test_bad_parameters_of_labelers(labeler, message):
    with pytest.raises(ValueError, match=message):
        labeler(clustered_features(40, 3))
