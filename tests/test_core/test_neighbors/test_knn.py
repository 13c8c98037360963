import importlib.util
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from glc.core.correctors.link_network import normalized_adjacency
from glc.core.labels import as_unit_features
from glc.core.neighbors import knn
from glc.core.neighbors.knn import KNNGraph, knn_graph
from tests.test_core.foreign_device import FOREIGN, ForeignDevice
from tests.test_core.oracles import clustered_features, dense_similarities, naive_ranks


@pytest.fixture(params=['faiss', 'torch'])
def backend(request):
    if request.param == 'faiss':
        pytest.importorskip('faiss')
    return request.param


def test_neighbors_equal_a_dense_sort(backend):
    features = clustered_features(90, 6)
    graph = knn_graph(features, 20, backend)
    np.testing.assert_array_equal(graph.indices, naive_ranks(features, 20))
    expected = np.take_along_axis(dense_similarities(features), graph.numpy()[0], axis=1)
    np.testing.assert_allclose(graph.similarities, expected, atol=1e-6)
    assert (graph.num_nodes, graph.k) == (90, 20)
    assert (graph.indices.dtype, graph.similarities.dtype) == (torch.int64, torch.float32)


@pytest.mark.slow
def test_result_does_not_depend_on_backend_or_blocks(backend):
    features = clustered_features(400, 9, noise=0.05, seed=3)
    features[100:140] = features[5]
    one = knn_graph(features, 12, 'torch')
    for block_size in (None, 1, 37):
        other = knn_graph(torch.from_numpy(features), 12, backend, block_size)
        np.testing.assert_array_equal(one.indices, other.indices)
        np.testing.assert_array_equal(one.similarities, other.similarities)


def test_duplicates_and_zero_vectors_are_ordered_by_index_after_self(backend):
    same = knn_graph(np.full((60, 8), 0.3), 5, backend)
    zero = knn_graph(np.zeros((60, 8)), 5, backend)
    expected = [[i, *[j for j in range(6) if j != i][:4]] for i in range(60)]
    np.testing.assert_array_equal(same.indices, expected)
    np.testing.assert_array_equal(zero.indices, expected)
    np.testing.assert_array_equal(zero.similarities, 0)


def test_more_duplicates_than_neighbors_among_others(backend):
    features = clustered_features(120, 5, seed=2)
    features[40:80] = features[0]
    graph = knn_graph(features, 6, backend)
    np.testing.assert_array_equal(graph.indices[70], [70, 0, 40, 41, 42, 43])
    np.testing.assert_array_equal(graph.indices[:, 0], np.arange(120))


def test_fewer_images_than_neighbors(backend):
    features = clustered_features(7, 2)
    graph = knn_graph(features, 30, backend)
    np.testing.assert_array_equal(graph.indices, naive_ranks(features, 7))
    assert knn_graph(features[:1], 30, backend).indices.tolist() == [[0]]
    assert knn_graph(features, 1, backend).indices.tolist() == [[i] for i in range(7)]


@pytest.mark.parametrize(('num_known', 'k'), [(40, 5), (9, 5), (5, 5), (120, 200)])
def test_neighbors_among_some_images_need_no_search_where_they_are_known(num_known, k, monkeypatch):
    features = as_unit_features(clustered_features(120, 5, noise=0.3, seed=2))
    features[40:60] = features[0]
    nodes = torch.from_numpy(np.sort(np.random.default_rng(0).permutation(120)[:70]))
    searched = []
    search = knn._neighbors
    monkeypatch.setattr(
        knn, '_neighbors', lambda x, rows, *rest: searched.append(len(rows)) or search(x, rows, *rest)
    )
    graph = knn_graph(features, num_known)
    found = knn.subgraph(graph, features, nodes, k)
    expected = knn_graph(features[nodes], k)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_array_equal(found.similarities, expected.similarities)
    known = np.isin(graph.indices[nodes], nodes).sum(axis=1) >= min(k, 70)
    assert searched == [120, (~known).sum(), 70]


@pytest.mark.parametrize('num_columns', [40, 600, 631])
def test_the_largest_are_found_by_groups(num_columns):
    rng = np.random.default_rng(num_columns)
    similarities = torch.from_numpy(
        rng.permuted(np.tile(np.arange(num_columns), (50, 1)), axis=1).astype('f4')
    )
    values, columns = knn._largest(similarities, 2)
    expected = similarities.topk(2, dim=1)
    np.testing.assert_array_equal(values, expected.values)
    np.testing.assert_array_equal(columns, expected.indices)


def test_bad_arguments():
    features = clustered_features(7, 2)
    with pytest.raises(ValueError, match="'k' parameter of knn_graph"):
        knn_graph(features, 0)
    with pytest.raises(ValueError, match='block_size'):
        knn_graph(features, 2, block_size=0)
    with pytest.raises(ValueError, match="Got 'annoy'"):
        knn_graph(features, 2, backend='annoy')


def test_without_faiss(monkeypatch):
    features = clustered_features(30, 3)
    expected = knn_graph(features, 4).indices
    monkeypatch.setitem(sys.modules, 'faiss', None)
    np.testing.assert_array_equal(knn_graph(features, 4, 'auto').indices, expected)
    with pytest.raises(RuntimeError, match='pip install faiss-cpu'):
        knn_graph(features, 4, 'faiss')


@pytest.mark.slow
@pytest.mark.parametrize('first', ['torch', 'faiss'])
def test_faiss_and_torch_threads_live_in_one_process(first):
    pytest.importorskip('faiss')
    code = f"""
import {first}, torch, faiss
from glc.core.neighbors.knn import knn_graph
torch.set_num_threads(2)
faiss.omp_set_num_threads(2)
x = torch.randn(300, 16)
for backend in ['torch', 'faiss'] * 3:
    knn_graph(x, 5, backend)
    (torch.randn(200, 200) @ torch.randn(200, 200)).sort()
"""
    subprocess.run([sys.executable, '-c', code], check=True, timeout=120)


@pytest.mark.gpu
def test_gpu_gives_the_neighbors_of_the_cpu():
    features = torch.from_numpy(clustered_features(500, 9))
    expected = knn_graph(features, 15)
    backends = ('auto', 'torch', 'faiss') if importlib.util.find_spec('faiss') else ('auto', 'torch')
    for backend in backends:
        graph = knn_graph(features.cuda(), 15, backend)
        assert graph.indices.is_cuda
        np.testing.assert_array_equal(graph.numpy()[0], expected.indices)


def test_faiss_gpu_gets_the_tensors_as_they_are(monkeypatch):
    calls = []

    def knn_gpu(resources, queries, base, count, metric, device):
        calls.append((resources, metric))
        assert queries.device == base.device == FOREIGN
        return (queries @ base.T).topk(count, dim=1)

    module = SimpleNamespace(
        StandardGpuResources=lambda: 'gpu', METRIC_INNER_PRODUCT='product', knn_gpu=knn_gpu
    )
    module.__spec__ = importlib.util.spec_from_loader('faiss', None)
    for name in ('faiss', 'faiss.contrib', 'faiss.contrib.torch_utils'):
        monkeypatch.setitem(sys.modules, name, module)
    features = clustered_features(50, 5)
    with ForeignDevice():
        graph = knn_graph(torch.from_numpy(features).to(FOREIGN), 6, 'faiss', block_size=20)
        np.testing.assert_array_equal(graph.numpy()[0], naive_ranks(features, 6))
    assert calls == [('gpu', 'product')] * 3


def test_adjacency_equals_its_dense_definition():
    features = clustered_features(40, 4, noise=0.6, dim=6)
    graph = knn_graph(features, 30)
    assert graph.similarities.min() < 0
    before = graph.similarities.clone()
    weights = np.zeros((40, 40))
    indices, similarities = graph.numpy()
    for i, row in enumerate(indices):
        for j, similarity in zip(row, similarities[i], strict=True):
            if j != i:
                weights[i, j] = min(max(similarity, 0.0), 1.0)
    weights = np.maximum(weights, weights.T) + np.eye(40)
    adjacency = normalized_adjacency(graph)
    np.testing.assert_allclose(
        adjacency.toarray(), weights / weights.sum(axis=1, keepdims=True), rtol=1e-5, atol=1e-8
    )
    assert adjacency.dtype == np.float32
    assert adjacency.nnz == np.count_nonzero(weights)
    np.testing.assert_array_equal(graph.similarities, before)


def test_adjacency_of_lonely_images_is_the_identity():
    graph = KNNGraph(np.arange(3)[:, None], np.ones((3, 1), np.float32))
    np.testing.assert_array_equal(normalized_adjacency(graph).toarray(), np.eye(3))
