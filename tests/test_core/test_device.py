"""Labels of features that are not on the CPU, on a device without hardware and, where there is one, on a GPU."""

import numpy as np
import pytest
import torch
from scipy import sparse

from glc import FeatureView
from glc.core.correctors import GLC, BaseCorrector, LabelPropagation, MetricConsensus, NeighborVoting
from glc.core.correctors.link_network import aggregate_neighbors, normalized_adjacency
from glc.core.labelers import (
    AdaptiveConsensus,
    JaccardDBSCAN,
    JaccardLeiden,
    KMeansLabeler,
    MultiScaleConsensus,
)
from glc.core.neighbors.jaccard import jaccard_distance, reciprocal_encodings
from glc.core.neighbors.knn import knn_graph
from tests.test_core.foreign_device import FOREIGN, ForeignDevice
from tests.test_core.oracles import clustered_features

JACCARD = {'k1': 12, 'k2': 3}
NETWORK = {'k': 12, 'hidden_dim': 16, 'epochs': 1, 'subgraphs_per_epoch': 1, 'steps_per_subgraph': 10}
METHODS = {
    'dbscan': lambda device: JaccardDBSCAN(**JACCARD),
    'approximate': lambda device: JaccardDBSCAN(**JACCARD, backend='approximate'),
    'adaptive': lambda device: AdaptiveConsensus(),
    'consensus': lambda device: MultiScaleConsensus(k1=(6, 12), k2=3),
    'leiden': lambda device: JaccardLeiden(**JACCARD),
    'k-means': lambda device: KMeansLabeler(8),
    'metric': lambda device: MetricConsensus(k1=(6, 12), k2=3),
    'metric default': lambda device: MetricConsensus(),
    'metric anew': lambda device: MetricConsensus(careful=False),
    'glc': lambda device: GLC(**NETWORK, device=device),
    'glc components': lambda device: GLC(**NETWORK, linking='components', device=device),
    'voting': lambda device: NeighborVoting(k=8),
    'propagation': lambda device: LabelPropagation(**JACCARD),
}
SLOW = ('adaptive', 'metric', 'metric default', 'metric anew', 'glc', 'glc components')


def images():
    """Features, cameras and noisy labels of 160 images, tensors."""
    features = torch.from_numpy(clustered_features(160, 8, seed=1))
    labels = JaccardDBSCAN(**JACCARD)(features)
    labels[::9] = -1
    return features, torch.arange(160) % 3 + 4, labels


def labeled(method, device, features, cam_ids, labels):
    """Labels by a labeler or a corrector, from tensors on a device."""
    call = METHODS[method](device)
    known = (labels,) if isinstance(call, BaseCorrector) else ()
    result = call(features.to(device), *(part.to(device) for part in known), cam_ids=cam_ids.to(device))
    assert result.device.type == torch.device(device).type
    return result.cpu()


@pytest.mark.parametrize(
    'method', [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in METHODS]
)
def test_labels_on_another_device(method):
    inputs = images()
    expected = labeled(method, 'cpu', *inputs)
    with ForeignDevice():
        found = labeled(method, FOREIGN, *inputs)
    np.testing.assert_array_equal(found, expected)
    assert found.max() > 3


@pytest.mark.gpu
@pytest.mark.parametrize('method', METHODS)
def test_labels_on_a_gpu(method):
    inputs = images()
    np.testing.assert_array_equal(labeled(method, 'cuda', *inputs), labeled(method, 'cpu', *inputs))


def test_graphs_and_encodings_stay_on_the_device():
    features, cam_ids, _ = images()
    expected = FeatureView(features, cam_ids)
    with ForeignDevice():
        view = FeatureView(features.to(FOREIGN), cam_ids.numpy())
        np.testing.assert_allclose(view.centered.cpu(), expected.centered, atol=1e-6)
        for graph, other in zip(view.graphs(12), expected.graphs(12), strict=True):
            assert graph.indices.device == graph.similarities.device == FOREIGN
            np.testing.assert_array_equal(graph.numpy()[0], other.indices)
            np.testing.assert_allclose(graph.numpy()[1], other.similarities, atol=1e-6)
            for encoding in reciprocal_encodings(view.centered, (6, 12), 3, graph):
                assert {part.device for part in encoding} == {FOREIGN}
        given = jaccard_distance(view.centered, 12, 3, graph=expected.neighbors(12))  # a graph on the CPU
        own = jaccard_distance(view.centered, 12, 3, graph=view.neighbors(12))
        np.testing.assert_array_equal(given.toarray(), own.toarray())
        moved = expected.to(FOREIGN)
        assert moved.device == moved.neighbors(12).indices.device == FOREIGN
        assert expected.to(expected.device) is expected


def test_weighted_neighbors_on_the_device():
    features = torch.from_numpy(clustered_features(50, 4))
    adjacency = normalized_adjacency(knn_graph(features, 6))
    kept = (np.arange(50) != 7).astype(np.float32)
    adjacency = sparse.csr_array(sparse.diags_array(kept) @ adjacency)
    adjacency.eliminate_zeros()  # image 7 has no neighbors
    for rows in (slice(None), slice(5, 20)):
        expected = aggregate_neighbors(features, adjacency, rows)
        with ForeignDevice():
            found = aggregate_neighbors(features.to(FOREIGN), adjacency, rows)
            assert found.device == FOREIGN
            np.testing.assert_allclose(found.cpu(), expected, atol=1e-6)


def test_the_device_of_these_tests_is_as_strict_as_a_gpu():
    with ForeignDevice():
        x = torch.arange(4.0).to(FOREIGN)
        with pytest.raises(RuntimeError, match='numpy'):
            np.asarray(x)
        for mixed in (
            lambda: x + torch.arange(4.0),
            lambda: torch.arange(4.0)[x.long()],
            lambda: x.index_put_((torch.tensor([1]),), torch.ones(1)),
        ):
            with pytest.raises(RuntimeError, match='on the CPU'):
                mixed()
        assert (x[torch.tensor([1, 3])] * 2).cpu().tolist() == [2, 6]
        assert x.sum().item() == 6
