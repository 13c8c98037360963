"""Confidence of labels: low where a label is likely to be wrong."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from glc.core.evaluation import label_confidence
from glc.core.labelers import AdaptiveConsensus
from glc.core.labelers.adaptive import consensus_distance
from glc.core.neighbors import FeatureView
from tests.utils import shared_data


def test_it_is_the_mean_similarity_within_the_cluster():
    rng = np.random.default_rng(0)
    distance = np.triu(np.where(rng.random((30, 30)) < 0.5, rng.random((30, 30)), 0), 1)
    distance += distance.T
    labels = 3 * rng.integers(-1, 4, 30)
    similarity = np.where(distance > 0, 1 - distance, 0)
    expected = np.zeros(30)
    for row in np.flatnonzero(labels >= 0):
        others = np.flatnonzero((labels == labels[row]) & (np.arange(30) != row))
        expected[row] = similarity[row, others].mean()
    found = label_confidence(sparse.csr_array(distance), labels)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert (found[labels < 0] == 0).all()


def test_a_stored_diagonal_does_not_count():
    distance = sparse.csr_array(np.full((2, 2), 0.5))
    assert label_confidence(distance, np.array([0, 1])).tolist() == [0, 0]
    assert label_confidence(distance, np.array([7, 7])).tolist() == [0.5, 0.5]
    assert label_confidence(distance, np.array([-1, -1])).tolist() == [0, 0]


def test_as_many_labels_as_images():
    with pytest.raises(ValueError, match='labels'):
        label_confidence(sparse.csr_array((3, 3)), np.zeros(2, int))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['market1501_weak_256d', 'cuhk03_osnet_x0_25'])
def test_images_of_somebody_else_have_less(name):
    with np.load(shared_data(f'labels/{name}.npz')) as file:
        chosen = np.isin(file['pid'], np.unique(file['pid'])[200:300])
        features, pids, cam_ids = (file[part][chosen] for part in ('features', 'pid', 'cam'))
    view = FeatureView(features.astype(np.float32), cam_ids)
    labels = AdaptiveConsensus()(view)
    main = np.array([np.bincount(pids[labels == label]).argmax() for label in range(labels.max() + 1)])
    right, confidence = main[labels] == pids, label_confidence(consensus_distance(view), labels)
    labeled = labels >= 0
    assert right[labeled].mean() < 0.98
    # the wrong ones that are easiest to tell are no longer among the labeled ones
    assert roc_auc_score(right[labeled], confidence[labeled]) > 0.78
