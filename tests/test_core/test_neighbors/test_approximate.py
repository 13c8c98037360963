import os
import threading

import numpy as np
import pytest
import torch

from glc.core.labels import as_unit_features
from glc.core.neighbors import approximate, knn
from glc.core.neighbors.approximate import likely_neighbors
from glc.core.neighbors.jaccard_numba import kept_threads, parallel_rows
from glc.core.neighbors.knn import knn_graph
from tests.test_core.oracles import clustered_features, naive_ranks


@pytest.fixture(autouse=True)
def exact_products(monkeypatch):
    """Whatever the processor; tests of rounded products ask for them."""
    monkeypatch.setattr(approximate, '_FAST_BFLOAT16', False)


@pytest.fixture
def small_lists(monkeypatch):
    """Lists of about 40 images, 8 of which are searched."""
    search = knn.likely_neighbors
    monkeypatch.setattr(knn, 'likely_neighbors', lambda *args: search(*args, list_size=40, num_probes=8))


def recall(found, expected):
    return np.mean([np.isin(a, b).mean() for a, b in zip(expected, found, strict=True)])


def check_order(result):
    """Itself first, distinct, then falling similarity, equal ones by rising index."""
    others, similarities = result.indices[:, 1:], result.similarities[:, 1:]
    np.testing.assert_array_equal(result.indices[:, 0], np.arange(result.num_nodes))
    assert (np.diff(np.sort(result.indices, axis=1), axis=1) > 0).all()
    steps = np.diff(similarities, axis=1)
    assert (steps <= 0).all()
    assert (np.diff(others, axis=1)[steps == 0] > 0).all()


@pytest.mark.slow
@pytest.mark.usefixtures('small_lists')
def test_finds_most_neighbors_at_their_exact_similarities():
    features = clustered_features(4000, 150, noise=0.12)
    exact, found = knn_graph(features, 30, 'torch'), knn_graph(features, 30, 'approximate')
    assert recall(found.indices, exact.indices) > 0.97
    check_order(found)
    same = found.indices == exact.indices
    np.testing.assert_array_equal(found.similarities[same], exact.similarities[same])
    assert (found.similarities <= exact.similarities).all()


@pytest.mark.parametrize('count', [1, 2, 5, 30])
def test_the_best_of_several_rounds_are_kept(count):
    rng = np.random.default_rng(count)
    similarities = torch.from_numpy(rng.permuted(np.tile(np.arange(300.0), (9, 1)), axis=1).astype('f4'))
    best, found = approximate.nothing_found(torch.empty(0), 9, count)
    for images in torch.arange(300, dtype=torch.int32).split(140):  # parts of 64, and a rest
        for rows in torch.tensor([3, 0, 8, 5, 1, 7, 2]).split(4):
            approximate.compete(best, found, rows, similarities[rows][:, images.long()].contiguous(), images)
    expected = similarities.topk(count, dim=1)
    for row in range(9):
        if row in (4, 6):
            assert (found[row] == -1).all()
        else:
            assert set(best[row].tolist()) == set(expected.values[row].tolist())
            assert set(found[row].tolist()) == set(expected.indices[row].tolist())


@pytest.mark.parametrize('num_images', [1, 7, 90])
def test_is_exact_when_all_lists_are_searched(num_images):
    features = clustered_features(num_images, 6)
    result = knn_graph(features, 30, 'approximate')
    np.testing.assert_array_equal(result.indices, naive_ranks(features, 30))


@pytest.mark.slow
def test_more_probes_find_more():
    x = as_unit_features(clustered_features(2000, 40, noise=0.3))
    rows = torch.arange(len(x))
    exact = (x @ x.T).topk(10).indices.numpy()
    found = [recall(likely_neighbors(x, rows, 10, 50, probes), exact) for probes in (1, 4, 16, 40)]
    assert found == sorted(found)
    assert found[-1] == 1


@pytest.mark.usefixtures('small_lists')
@pytest.mark.parametrize('features', [np.full((3000, 8), 0.3), np.zeros((3000, 8))], ids=['equal', 'zero'])
def test_equal_images(features):
    result = knn_graph(features, 30, 'approximate')
    check_order(result)
    np.testing.assert_allclose(result.similarities, features[0].any(), atol=1e-6)


@pytest.mark.usefixtures('small_lists')
def test_duplicates_do_not_hide_other_images():
    features = clustered_features(1500, 60, noise=0.12, seed=1)
    features = np.concatenate([features, np.repeat(features[:1], 1000, axis=0), np.zeros((500, 24))])
    exact, found = knn_graph(features, 20, 'torch'), knn_graph(features, 20, 'approximate')
    check_order(found)
    np.testing.assert_allclose(found.similarities[1500:2500], 1, atol=1e-6)
    np.testing.assert_array_equal(found.similarities[2500:], 0)
    distinct = (exact.indices < 1500).all(axis=1)
    assert distinct.sum() > 1400
    assert recall(found.indices[distinct], exact.indices[distinct]) > 0.98


def test_no_list_is_long():
    x = as_unit_features(clustered_features(3000, 100, seed=2))
    x[1000:2500] = x[0]
    lists, probes, _ = approximate._lists(x, list_size=50, num_probes=6)
    assert lists.bincount().max() <= 200
    assert probes.shape == (3000, 6)
    assert probes.max() <= lists.max()


def test_fewer_images_in_the_lists_than_candidates():
    x = as_unit_features(clustered_features(300, 20))
    found = likely_neighbors(x, torch.arange(300), 100, list_size=10, num_probes=2)
    assert (found.sort(dim=1).values.diff(dim=1) > 0).all()
    assert found.min() >= 0
    assert found.max() < 300
    assert (found[:, 0] == torch.arange(300)).all()


@pytest.mark.parametrize('rows', [torch.arange(400), torch.tensor([399, 5, 200, 201])], ids=['all', 'some'])
def test_two_images_meet_where_one_visits_the_list_of_the_other(rows, monkeypatch):
    """Against a mask of all pairs; lists and visits are drawn, so some images would not visit their own list."""
    monkeypatch.setattr(approximate, '_LIST_SIMILARITIES', 2**10)  # several blocks of visitors per list
    rng = np.random.default_rng(0)
    x = as_unit_features(clustered_features(400, 30, noise=0.3))
    lists = torch.from_numpy(rng.integers(12, size=400))
    probes = torch.from_numpy(np.stack([rng.permutation(12)[:3] for _ in range(400)]).astype('i4'))
    visits = (probes[:, None, :] == lists[None, :, None]).any(dim=2)  # image i visits the list of j
    allowed = (visits | visits.T | (lists[:, None] == lists))[rows]
    similarities = (x[rows] @ x.T).masked_fill(~allowed, -torch.inf)
    best, found = approximate._search_lists(x, rows, lists, probes, 30)
    expected = similarities.topk(30, dim=1)
    for row in range(len(rows)):
        order = best[row].argsort(descending=True)
        np.testing.assert_allclose(best[row][order], expected.values[row], atol=1e-5)
        assert len(set(found[row].tolist())) == 30
        np.testing.assert_allclose(similarities[row][found[row].long()], best[row], atol=1e-5)


@pytest.mark.slow
def test_groups_of_centroids_find_the_nearest_ones(monkeypatch):
    x = as_unit_features(clustered_features(6000, 900, noise=0.12, dim=24))
    centroids = approximate._kmeans(x, 600)
    exact = approximate._nearest(x, centroids, 8)
    monkeypatch.setattr(approximate, '_FEW_CENTROIDS', 100)
    products = []
    compete = approximate.compete
    monkeypatch.setattr(
        approximate, 'compete', lambda *args: products.append(args[3].numel()) or compete(*args)
    )
    found = []
    for groups in (2, 6, 12, 24):
        monkeypatch.setattr(approximate, '_NUM_GROUPS', groups)
        products.clear()
        found.append(recall(approximate._roughly_nearest(x, centroids, 8).numpy(), exact.numpy()))
        if groups == 12:
            assert sum(products) < 0.7 * len(x) * len(centroids)
    assert found == sorted(found)
    assert found[2] > 0.9
    assert found[-1] == 1  # all of them


def test_lists_are_chosen_without_groups(monkeypatch):
    """One group of centroids is far too few, but it only makes means."""
    monkeypatch.setattr(approximate, '_FEW_CENTROIDS', 10)
    monkeypatch.setattr(approximate, '_NUM_GROUPS', 1)
    x = as_unit_features(clustered_features(1500, 250, noise=0.12, dim=24))
    exact = (x @ x.T).topk(8, dim=1).indices
    found = likely_neighbors(x, torch.arange(1500), 12, list_size=5, num_probes=8)
    assert recall(found.numpy(), exact.numpy()) > 0.9


def test_groups_with_fewer_centroids_than_asked_for(monkeypatch):
    monkeypatch.setattr(approximate, '_FEW_CENTROIDS', 10)
    monkeypatch.setattr(approximate, '_NUM_GROUPS', 1)
    x = as_unit_features(clustered_features(500, 60))
    nearest = approximate._roughly_nearest(x, x[:40], 30)
    assert nearest.min() >= 0
    assert (nearest.sort(dim=1).values.diff(dim=1) > 0).all()
    similarities = (x @ x[:40].T).gather(1, nearest.long())
    assert (similarities.diff(dim=1) <= 1e-6).all()


def test_kept_threads_are_shared_and_given_up(monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)

    def rounds():
        work = lambda start, stop: (threading.current_thread(), start, stop)  # noqa: E731
        return [list(parallel_rows(work, range(3, 8), 2)) for _ in range(20)]

    with kept_threads():
        kept = rounds()
    for found in kept:
        assert [block[1:] for block in found] == [(3, 5), (5, 7), (7, 8)]
    workers = {thread for found in kept for thread, *_ in found}
    assert len(workers) <= 2
    assert not any(thread.is_alive() for thread in workers)
    assert workers.isdisjoint(thread for found in rounds() for thread, *_ in found)


def test_people_are_whole_in_regions(monkeypatch):
    monkeypatch.setattr(approximate, '_REGION_SIZE', 200)
    identity = np.repeat(np.arange(300), 20)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 24))[identity] + 0.5 * rng.normal(size=(6000, 24))
    images, within = approximate.whole_regions(as_unit_features(features), 1000)
    assert (images.diff() > 0).all()
    assert within.shape == images.shape
    assert 1000 <= within.sum() < 2000
    assert within.sum() < len(images) < 4000
    shown = np.bincount(identity[images], minlength=300) / 20
    assert shown[identity[images[within]]].mean() > 0.92
    assert shown[identity[images[~within]]].mean() < 0.8
    everyone, inside = approximate.whole_regions(as_unit_features(features), 6000)
    assert everyone.equal(torch.arange(6000))
    assert inside.all()


def test_rows_on_their_own():
    x = as_unit_features(clustered_features(2000, 150))
    everyone = likely_neighbors(x, torch.arange(2000), 20, 40, 6)
    for rows in (torch.tensor([1999, 3, 700]), torch.arange(0)):
        assert likely_neighbors(x, rows, 20, 40, 6).equal(everyone[rows])


@pytest.mark.slow
@pytest.mark.usefixtures('small_lists')
def test_result_does_not_depend_on_threads_blocks_or_the_generator(monkeypatch):
    features = clustered_features(1500, 100, seed=4)
    expected = knn_graph(features, 20, 'approximate')
    threads = torch.get_num_threads()
    for num_threads, block_size, similarities in ((1, 501, 2**12), (2, None, 2**22)):
        torch.manual_seed(num_threads)
        torch.set_num_threads(num_threads)
        monkeypatch.setattr(approximate, '_CENTROID_SIMILARITIES', similarities)
        monkeypatch.setattr(approximate, '_LIST_SIMILARITIES', similarities)
        state = torch.get_rng_state()
        result = knn_graph(torch.from_numpy(features), 20, 'approximate', block_size)
        torch.set_num_threads(threads)
        np.testing.assert_array_equal(result.indices, expected.indices)
        np.testing.assert_array_equal(result.similarities, expected.similarities)
        assert torch.equal(state, torch.get_rng_state())


@pytest.mark.usefixtures('small_lists')
def test_auto_is_exact_up_to_a_limit(monkeypatch):
    features = clustered_features(1000, 20, noise=0.5)
    exact, approximate_ = (knn_graph(features, 10, backend).indices for backend in ('torch', 'approximate'))
    assert (exact != approximate_).any()
    np.testing.assert_array_equal(knn_graph(features, 10).indices, exact)
    monkeypatch.setattr(knn, 'EXACT_LIMIT', 999)
    np.testing.assert_array_equal(knn_graph(features, 10).indices, approximate_)


@pytest.mark.gpu
def test_gpu_finds_the_neighbors_of_the_cpu():
    features = torch.from_numpy(clustered_features(5000, 300))
    expected = knn_graph(features, 15, 'approximate')
    assert recall(knn_graph(features.cuda(), 15, 'approximate').numpy()[0], expected.indices) > 0.999


@pytest.mark.parametrize('offset', [0.0, 5.0])
@pytest.mark.parametrize(('num_rows', 'num_others'), [(1, 1), (64, 130), (100, 63), (37, 300)])
def test_rounded_products_are_close_where_all_are_alike(monkeypatch, offset, num_rows, num_others):
    """They are off by so much of the differences between the others, not of the similarities, which are near 1."""
    monkeypatch.setattr(approximate, '_FAST_BFLOAT16', True)
    rng = np.random.default_rng(0)
    rows, others = (
        as_unit_features(rng.normal(size=(count, 96)) + offset) for count in (num_rows, num_others)
    )
    compared = approximate._Compared(others, 100)
    wide = rows.double() @ others.double().T
    differences = (others - others.mean(dim=0)).norm(dim=1).max()
    for count in (num_rows, max(1, num_rows // 2)):  # a smaller block leaves what was there before
        found = compared(rows[:count])
        assert found.dtype == torch.float32
        assert found.shape == (count, num_others)
        assert (found - wide[:count]).abs().max() <= 2**-7 * differences + 1e-6
    if num_others > 1:
        assert (found != (rows[:count] @ others.T)).any()  # it was rounded


@pytest.mark.slow
@pytest.mark.usefixtures('small_lists')
@pytest.mark.parametrize('offset', [0.0, 3.0])
def test_rounded_products_find_the_same_neighbors(monkeypatch, offset):
    features = clustered_features(4000, 150, noise=0.12)
    features = features + offset * features[0]
    exact = knn_graph(features, 30, 'torch')
    found = []
    for rounded in (False, True):
        monkeypatch.setattr(approximate, '_FAST_BFLOAT16', rounded)
        graph = knn_graph(features, 30, 'approximate')
        check_order(graph)
        same = graph.indices == exact.indices
        np.testing.assert_array_equal(graph.similarities[same], exact.similarities[same])
        found.append(recall(graph.indices, exact.indices))
    assert found[1] == pytest.approx(found[0], abs=0.002)
    assert found[1] > 0.96


@pytest.mark.usefixtures('small_lists')
def test_near_duplicates_are_not_rounded(monkeypatch):
    """Rounding would mix up those that lie in the lists of others."""
    monkeypatch.setattr(approximate, '_FAST_BFLOAT16', True)
    features = clustered_features(3000, 15, noise=0.002)
    exact, found = knn_graph(features, 30, 'torch'), knn_graph(features, 30, 'approximate')
    near = recall(found.indices, exact.indices)
    monkeypatch.setattr(approximate, '_FAST_BFLOAT16', False)
    assert near == pytest.approx(
        recall(knn_graph(features, 30, 'approximate').indices, exact.indices), abs=0.01
    )
