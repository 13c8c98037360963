"""GLC against naive loops and dense float64 computations, and on planted label noise."""

import random
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import adjusted_rand_score

from glc import FeatureView
from glc.checkpoints import load_link_predictor
from glc.core.correctors import (
    GLC,
    CommunityLinking,
    ComponentLinking,
    LinkTraining,
    UnusableLabelsError,
    linking,
)
from glc.core.correctors.link_network import LinkPredictor
from glc.core.correctors.link_training import draw_subgraph, shuffled_batches
from glc.core.correctors.linking import cluster_links
from glc.core.evaluation import label_quality
from glc.core.labels import cluster_centroids, with_class_scores
from tests.test_core.test_correctors.test_link_network import dense_logits
from tests.utils import shared_data


def planted(num_ids=30, size=12, dim=32, spread=0.1, noise=0.15, seed=0):
    """Features, noisy labels and truth of well separated identities: wrong labels and outliers planted."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_ids), size)
    features = rng.normal(size=(num_ids, dim))[truth] + spread * rng.normal(size=(len(truth), dim))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    noisy = np.where(rng.random(len(truth)) < noise, rng.integers(num_ids, size=len(truth)), truth)
    return features, np.where(rng.random(len(truth)) < 0.05, -1, noisy), truth


def small_glc(**parameters):
    defaults = {
        'k': 12,
        'hidden_dim': 32,
        'epochs': 1,
        'subgraphs_per_epoch': 2,
        'steps_per_subgraph': 40,
        'device': 'cpu',
    }
    return GLC(**{**defaults, **parameters})


# The published numbers


def test_published_schedule():
    glc = GLC.published()
    assert asdict(glc.training) == {
        'hidden_dim': 512,
        'epochs': 2,
        'subgraphs_per_epoch': 202,
        'clusters_per_subgraph': 350,
        'member_fraction': 0.9,
        'min_nodes': 100,
        'max_nodes': 100_000,
        'steps_per_subgraph': 80,
        'batch_fraction': 1 / 40,
        'cluster_batches': False,
        'lr': 0.1,
        'momentum': 0.9,
        'weight_decay': 1e-5,
        'lr_decay': 0.1,
        'gamma': 2.0,
        'scale_inputs': False,
        'distance_start': False,
        'clip_norm': None,
        'patience': None,
    }
    assert glc.linking == ComponentLinking(link_threshold=0.6, overlap_threshold=0.6, min_cluster_size=5)
    assert (glc.k, glc.use_cameras, glc.seed) == (50, False, 0)


def test_parameters_of_training_and_linking_can_be_set_flat():
    glc = GLC.published(seed=3, k=20, lr=0.2, min_cluster_size=7)
    assert (glc.seed, glc.k) == (3, 20)
    assert glc.training == replace(GLC.published().training, lr=0.2)
    assert glc.linking == ComponentLinking(0.6, 0.6, 7)
    whole = GLC(training=LinkTraining(epochs=3, patience=None), linking=CommunityLinking(scales=(8, 10)))
    assert (
        whole.get_params() == GLC(linking='communities', epochs=3, patience=None, scales=(8, 10)).get_params()
    )
    with pytest.raises(
        TypeError, match=r'no parameter link_threshold; .* its ConsensusLinking has shrinkage'
    ):
        GLC(link_threshold=0.7)
    with pytest.raises(ValueError, match=r"'linking' .* among {'communities', 'components', 'consensus'}"):
        GLC(linking='tree')


# Training


def naive_adjacency(x, k):
    similarity = x @ x.T
    weights = np.zeros_like(similarity)
    for i in range(len(x)):
        for j in sorted(range(len(x)), key=lambda j: -similarity[i, j])[:k]:
            if i != j:
                weights[i, j] = min(max(similarity[i, j], 0), 1)
    weights = np.maximum(weights, weights.T) + np.eye(len(x))
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize('scaled', [False, True])
def test_training_takes_the_steps_of_a_dense_float64_computation(scaled):
    """With all clusters, members and edges in every step nothing is random but the initial weights."""
    features, labels, _ = planted(num_ids=6, size=6, dim=8, spread=0.4)
    glc = small_glc(
        k=5, hidden_dim=7, epochs=2, subgraphs_per_epoch=2, min_nodes=2, steps_per_subgraph=3, seed=5,
        member_fraction=1.0, batch_fraction=1.0, lr=0.1, weight_decay=0.01, lr_decay=0.5, gamma=1.5,
        scale_inputs=scaled, distance_start=False,
    )  # fmt: skip
    glc.fit(features, labels=labels)

    torch.manual_seed(5)
    network = LinkPredictor(8, 7).double()
    scale = 8**0.5 if scaled else 1
    parameters = list(network.parameters())
    x, y = features[labels >= 0].astype(np.float64), labels[labels >= 0]
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    adjacency = torch.tensor(naive_adjacency(x, 5))
    rows, cols = adjacency.nonzero(as_tuple=True)
    same = torch.tensor(y)[rows] == torch.tensor(y)[cols]
    x = torch.tensor(x)
    velocity = [torch.zeros_like(parameter) for parameter in parameters]
    history = []
    for lr in (0.1, 0.1, 0.05, 0.05):
        losses = []
        for _ in range(3):
            weight, bias = network.conv1.weight, network.conv1.bias
            h = (scale * torch.cat([x, adjacency @ x], dim=1) @ weight + bias).relu()
            p = network.classifier(torch.cat([h[rows], h[cols]], dim=1)).softmax(dim=1)
            p = torch.where(same, p[:, 1], p[:, 0])
            loss = -((1 - p) ** 1.5 * p.log()).mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient, v in zip(parameters, gradients, velocity, strict=True):
                    v.mul_(0.9).add_(gradient + 0.01 * parameter)
                    parameter.sub_(lr * v)
            losses.append(loss.item())
        history.append(np.mean(losses))
    assert glc.history_ == pytest.approx(history, rel=1e-5)
    assert history[-1] < history[0]
    for actual, expected in zip(glc.network_.parameters(), parameters, strict=True):
        torch.testing.assert_close(actual.double(), expected, rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    num_images=st.integers(1, 80),
    num_clusters=st.integers(1, 12),
    fraction=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    taken=st.integers(2, 15),
)
def test_draw_subgraph(seed, num_images, num_clusters, fraction, taken):
    rng = np.random.default_rng(seed)
    labels = np.unique(rng.integers(num_clusters, size=num_images), return_inverse=True)[1]
    centroids = cluster_centroids(rng.normal(size=(num_images, 4)), labels)
    anchor = np.random.default_rng(seed).integers(len(centroids))
    nodes = draw_subgraph(centroids, labels, taken, fraction, np.random.default_rng(seed))
    assert (np.diff(nodes) > 0).all()
    drawn = np.unique(labels[nodes])
    similarity = (centroids @ centroids[anchor]).numpy()
    assert len(drawn) == min(taken, len(centroids))
    assert anchor in drawn
    others = np.setdiff1d(np.arange(len(centroids)), drawn)
    assert similarity[drawn].min() >= similarity[others].max(initial=-2)
    for cluster in drawn:
        size = (labels == cluster).sum()
        assert (labels[nodes] == cluster).sum() == max(1, int(fraction * size))


def test_draw_subgraph_reaches_all_members():
    labels = np.repeat(np.arange(3), 10)
    rng = np.random.default_rng(0)
    draws = [np.bincount(draw_subgraph(torch.eye(3), labels, 3, 0.5, rng), minlength=30) for _ in range(300)]
    np.testing.assert_allclose(sum(draws), 150, atol=45)  # 5 standard deviations


@pytest.mark.parametrize('num_groups', [None, 1, 4])
@pytest.mark.parametrize(('num_edges', 'num_batches'), [(100, 40), (80, 40), (7, 40), (5, 1)])
def test_shuffled_batches_use_every_edge_once_per_round(num_edges, num_batches, num_groups):
    groups = None if num_groups is None else np.random.default_rng(1).integers(num_groups, size=num_edges)
    batches = shuffled_batches(num_edges, num_batches, np.random.default_rng(0), groups)
    rounds = []
    for _ in range(2):
        parts = [next(batches) for _ in range(min(num_batches, num_edges))]
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        rounds.append(np.concatenate(parts))
        np.testing.assert_array_equal(np.sort(rounds[-1]), np.arange(num_edges))
        if num_groups:
            in_turn = groups[rounds[-1]]  # a group that has ended does not come again
            assert (in_turn[1:] != in_turn[:-1]).sum() == len(np.unique(groups)) - 1
    assert (rounds[0] != rounds[1]).any()


def test_steps_on_clusters_need_few_images(monkeypatch):
    features, labels, _ = planted(num_ids=40, size=12)
    images = []
    encode = LinkPredictor.encode
    monkeypatch.setattr(LinkPredictor, 'encode', lambda self, x: images.append(len(x)) or encode(self, x))
    needed = []
    for cluster_batches in (True, False):
        images.clear()
        glc = small_glc(
            cluster_batches=cluster_batches, batch_fraction=1 / 20, epochs=1, steps_per_subgraph=20
        )
        glc.fit(features, labels=labels)
        needed.append(np.mean(images[-20:]))
        assert glc.history_[-1] < 0.2
    assert needed[0] < needed[1] / 2


def test_subgraphs_of_the_wrong_size_are_skipped():
    features, labels, _ = planted(num_ids=10, size=20)
    labels = np.where(
        np.arange(200) < 100, labels, -1
    )  # only some anchors find enough neighbors with members
    labels[:60] = np.arange(60) // 30
    glc = small_glc(
        clusters_per_subgraph=2, min_nodes=40, epochs=1, subgraphs_per_epoch=12, steps_per_subgraph=2
    )
    glc.fit(features, labels=labels)
    assert 0 < len(glc.history_) < 12


# Prediction


def naive_clusters(probabilities, link_threshold, overlap_threshold, min_cluster_size):
    n = len(probabilities)
    out = [{j for j in range(n) if probabilities[i, j] > link_threshold} for i in range(n)]
    parent = list(range(n))

    def root(i):
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(n):
        for j in out[i]:
            common = sum(j in out[neighbor] for neighbor in out[i])
            if out[j] and max(common / len(out[i]), common / len(out[j])) > overlap_threshold:
                parent[root(i)] = root(j)
    roots = [root(i) for i in range(n)]
    number = {}
    for r in sorted(set(roots), key=roots.index):
        if roots.count(r) >= min_cluster_size:
            number[r] = len(number)
    return np.array([number.get(r, -1) for r in roots])


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 10**6),
    num_images=st.integers(1, 25),
    density=st.sampled_from([0.1, 0.3, 0.6]),
    link_threshold=st.sampled_from([0.0, 0.3, 0.6]),
    overlap_threshold=st.sampled_from([0.0, 0.4, 0.6, 0.8]),
    min_cluster_size=st.integers(1, 5),
)
def test_cluster_links_against_a_loop(
    seed, num_images, density, link_threshold, overlap_threshold, min_cluster_size
):
    rng = np.random.default_rng(seed)
    dense = rng.random((num_images, num_images)) * (rng.random((num_images, num_images)) < density)
    np.fill_diagonal(dense, 0)
    arguments = (link_threshold, overlap_threshold, min_cluster_size)
    labels = cluster_links(sparse.csr_array(dense), *arguments)
    expected = naive_clusters(dense, *arguments)
    assert adjusted_rand_score(labels, expected) == 1
    np.testing.assert_array_equal(labels == -1, expected == -1)
    np.testing.assert_array_equal(np.unique(labels[labels >= 0]), np.arange(labels.max() + 1))


def test_cluster_links_does_not_depend_on_the_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    links = sparse.random_array((200, 200), density=0.02, rng=rng, format='csr')
    links.setdiag(0)
    whole = cluster_links(links, 0.2, 0.0, 2)
    monkeypatch.setattr(linking, '_ROWS_PER_BLOCK', 7)
    np.testing.assert_array_equal(cluster_links(links, 0.2, 0.0, 2), whole)
    assert whole.max() > 0


def test_cluster_links_thresholds_are_strict():
    clique = sparse.csr_array(np.where(np.eye(6), 0, 0.6))
    assert (cluster_links(clique, link_threshold=0.6) == -1).all()
    # Every image has 5 links and every pair 4 common neighbors.
    assert (cluster_links(clique, link_threshold=0.5, overlap_threshold=0.8) == -1).all()
    assert (cluster_links(clique, link_threshold=0.5, overlap_threshold=0.79) == 0).all()


def blended_similarity(features, labels, share):
    """Similarities of features and class scores, and centroids, in float64 and cluster by cluster."""
    x = features.astype(np.float64)
    centroids = np.stack([x[labels == cluster].mean(0) for cluster in range(labels.max() + 1)])
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    scores = np.exp(x @ centroids.T / 0.05)
    scores /= scores.sum(axis=1, keepdims=True)
    scores /= np.linalg.norm(scores, axis=1, keepdims=True)
    return (1 - share) * x @ x.T + share * scores @ scores.T


@pytest.mark.slow
def test_class_scores_join_the_features_in_the_graph():
    features, labels, _ = planted(spread=0.5)
    expected = blended_similarity(features, labels, 0.5)
    blended = with_class_scores(torch.from_numpy(features), torch.from_numpy(labels), 0.5)
    np.testing.assert_allclose(blended @ blended.T, expected, atol=1e-5)

    glc = small_glc(k=9, score_share=0.5, linking='components').fit(features, labels=labels)
    plain = small_glc(k=9, linking='components').fit(features, labels=labels)
    assert glc.history_[0] != plain.history_[0]
    links = glc.predict_links(features, labels=labels)
    np.fill_diagonal(expected, 2)
    nearest = np.argsort(-expected, axis=1)[:, :9]
    for i in range(len(features)):
        assert set(links[[i]].indices) == set(nearest[i]) - {i}
    with pytest.raises(ValueError, match=r'score_share=0\.5 needs labels'):
        glc.predict(features)
    with pytest.raises(ValueError, match="'score_share' parameter of GLC"):
        GLC(score_share=1.5)
    assert glc(features, labels).shape == labels.shape


@pytest.mark.slow
def test_links_of_the_published_network():
    """The published code finds 292 clusters and 2,799 outliers in its own features with its own network."""
    network = load_link_predictor(
        *(shared_data(f'weights/glc_gcn_{part}.pth') for part in ('backbone', 'head'))
    )
    stored = np.load(shared_data('labels/market1501_pass_vit_s.npz'))
    features = (stored['features_int8'] * stored['feature_scale'][:, None]).astype(np.float32)
    labels = GLC.published().use_network(network).predict(features)
    assert (labels.max() + 1, (labels < 0).sum()) == (292, 2799)


@pytest.mark.slow
def test_predicted_links_are_the_dense_softmax(monkeypatch):
    monkeypatch.setattr(linking, '_PAIRS_PER_BLOCK', 37)  # the last block is not full
    features, labels, _ = planted()
    glc = small_glc(k=20, scale_inputs=False).fit(features, labels=labels)
    links = glc.predict_links(features)
    rows, cols = links.nonzero()
    x = features.astype(np.float64)
    similarity = x @ x.T
    np.fill_diagonal(similarity, 2)
    nearest = np.argsort(-similarity, axis=1)[:, 1:20]
    np.testing.assert_array_equal(np.sort(cols.reshape(-1, 19)), np.sort(nearest))
    logits = dense_logits(glc.network_.state_dict(), features, naive_adjacency(x, 20), rows, cols)
    np.testing.assert_allclose(links.data, logits.softmax(dim=1)[:, 1], atol=1e-5)
    assert links.data.std() > 0.05


@pytest.mark.parametrize(
    ('forward', 'backward', 'linked'),
    [
        (0.066, 0.066, True),
        (0.059, 0.059, False),
        (0.13, 0, True),
        (0.12, 0, False),
        (0, 0.13, True),
        (0, 0.12, False),
    ],
)
def test_an_edge_weighs_the_root_of_the_mean_probability_of_both_directions(forward, backward, linked):
    """Edges weigh (1 - 0) times this root: images of a person are neighbors of each other alone. Edges below
    1 - 0.75 are cut, so the mean must be 0.0625."""
    features, _, truth = planted(num_ids=15, spread=0, noise=0)
    hub = np.arange(len(truth)) % 12 == (
        11 if backward else 0
    )  # the last or the first of a person in the order
    features = np.concatenate([features, np.where(hub, 0.01, 0)[:, None]], axis=1)
    glc = small_glc(linking='communities', scales=(12,), steps_per_subgraph=1, scale_inputs=False).fit(
        features, labels=truth
    )
    with torch.no_grad():
        for parameter in glc.network_.parameters():
            parameter.zero_()
        glc.network_.conv1.weight[32, 0] = 100 * 1.0001**0.5  # 1 of a hub, 0 of others
        output = glc.network_.classifier[2]
        if forward == backward:
            output.bias.copy_(torch.tensor([1 - forward, forward]).log())
        else:  # links out of a hub alone
            probability = forward + backward
            glc.network_.classifier[0].weight[0, 0] = 1
            output.bias[1] = -50
            output.weight[1, 0] = 50 + np.log(probability / (1 - probability))
    labels = glc.use_network(glc.network_).predict(features)
    np.testing.assert_array_equal(labels, truth if linked else np.full_like(truth, -1))


# The whole


@pytest.mark.parametrize('seed', [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_planted_noise_is_cleaned(seed):
    features, noisy, truth = planted(seed=seed)
    corrected = GLC(
        subgraphs_per_epoch=2, gamma=0.0, linking='components', link_threshold=0.5, seed=seed, device='cpu'
    )(features, noisy)
    before, after = label_quality(noisy, truth), label_quality(corrected, truth)
    assert after['pairwise_f'] > before['pairwise_f'] + 0.15
    assert after['bcubed_f'] > before['bcubed_f'] + 0.15


def test_defaults_improve_noisy_labels():
    features, noisy, truth = planted(noise=0.08)
    before, after = label_quality(noisy, truth), label_quality(GLC(device='cpu')(features, noisy), truth)
    assert after['pairwise_f'] > before['pairwise_f'] + 0.05
    assert after['bcubed_f'] > before['bcubed_f'] + 0.05


@pytest.mark.parametrize('distance_start', [False, True])
def test_start_of_the_network(distance_start):
    features, labels, _ = planted()
    glc = small_glc(lr=0.0, seed=3, distance_start=distance_start, steps_per_subgraph=1).fit(
        features, labels=labels
    )
    torch.manual_seed(3)
    network = LinkPredictor(features.shape[1], 32)
    if distance_start:
        network.start_as_distance()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(glc.network_.get_parameter(name), parameter, rtol=0, atol=0)


@pytest.mark.slow
def test_seed_decides_the_result():
    features, labels, _ = planted()
    runs = [small_glc(seed=seed).fit(features, labels=labels) for seed in (1, 1, 2)]
    first, again, other = ([p.detach().numpy() for p in run.network_.parameters()] for run in runs)
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))
    assert runs[0].history_ == runs[1].history_ != runs[2].history_
    labels = [run.predict(features) for run in runs]
    np.testing.assert_array_equal(labels[0], labels[1])


@pytest.mark.slow
def test_global_random_state_is_neither_read_nor_changed():
    features, labels, _ = planted()
    results = []
    for seed in (0, 1):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
        results.append(small_glc()(features, labels))
        assert random.getstate() == before[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
        assert torch.equal(torch.get_rng_state(), before[2])
    np.testing.assert_array_equal(*results)


@pytest.mark.slow
@pytest.mark.parametrize('context', [torch.no_grad, torch.inference_mode])
def test_works_where_gradients_are_off(context):
    features, labels, _ = planted()
    expected = small_glc()(features, labels)
    with context():
        unit = torch.nn.functional.normalize(torch.from_numpy(features))
        corrected = small_glc()(unit, labels)
    assert adjusted_rand_score(expected, corrected) > 0.99


@pytest.mark.slow
def test_output_is_of_the_kind_of_the_features():
    features, labels, _ = planted()
    array = small_glc()(features, torch.from_numpy(labels))
    tensor = small_glc()(torch.from_numpy(features), labels)
    assert isinstance(array, np.ndarray)
    assert isinstance(tensor, torch.Tensor)
    assert array.dtype == np.int64
    assert tensor.dtype == torch.int64
    np.testing.assert_array_equal(array, tensor.numpy())


@pytest.mark.slow
def test_inputs_are_not_modified():
    features, labels, _ = planted()
    features *= 2
    copies = features.copy(), labels.copy()
    small_glc()(features, labels)
    np.testing.assert_array_equal(features, copies[0])
    np.testing.assert_array_equal(labels, copies[1])


@pytest.mark.slow
def test_prediction_follows_the_images():
    features, labels, _ = planted(spread=0.3)
    glc = small_glc().fit(features, labels=labels)
    order = np.random.default_rng(0).permutation(len(features))
    assert adjusted_rand_score(glc.predict(features)[order], glc.predict(features[order])) > 0.99


@pytest.mark.slow
def test_label_numbers_do_not_matter():
    features, labels, _ = planted()
    renumbered = np.where(labels < 0, -1, labels * 7 + 3)
    np.testing.assert_array_equal(small_glc()(features, labels), small_glc()(features, renumbered))


@pytest.mark.slow
@pytest.mark.parametrize('score_share', [0.0, 0.5])
def test_training_does_not_depend_on_what_the_view_has_found(score_share):
    features, labels, _ = planted(spread=0.5)
    view = FeatureView(features)
    fresh = small_glc(k=8, score_share=score_share).fit(view, labels=labels)
    assert view.found is None
    view.neighbors(20)
    other = small_glc(k=8, score_share=score_share).fit(view, labels=labels)
    assert other.history_ == fresh.history_


def test_training_sees_no_unlabeled_image():
    features, labels, _ = planted()
    changed = features.copy()
    changed[labels < 0] = features[0]
    assert (
        small_glc().fit(features, labels=labels).history_ == small_glc().fit(changed, labels=labels).history_
    )


@pytest.mark.slow
def test_images_without_label_are_labeled():
    features, labels, truth = planted(noise=0)
    assert (labels == -1).any()
    corrected = small_glc()(features, labels)
    np.testing.assert_array_equal(corrected[labels >= 0], truth[labels >= 0])
    assert (corrected == truth).mean() > 0.99 > (labels == truth).mean()


@pytest.mark.slow
def test_progress_wraps_the_subgraphs():
    seen = []

    def progress(draws):
        for draw in draws:
            seen.append(draw)
            yield draw

    features, labels, _ = planted()
    glc = small_glc(epochs=2, subgraphs_per_epoch=2, patience=None, progress=progress)
    glc(features, labels)
    assert seen == [0, 1, 2, 3]
    assert len(glc.history_) == 4
    assert set(glc.timings_) == {'fit', 'knn', 'jaccard', 'links', 'cluster', 'evidence'}


def test_scikit_learn_conventions():
    glc = small_glc(lr=0.03, seed=7)
    assert clone(glc).get_params() == glc.get_params()
    assert 'lr=0.03' in repr(glc)
    assert glc.set_params(k=9).get_params()['k'] == 9
    features, labels, _ = planted()
    with pytest.raises(ValueError, match="'k' parameter of GLC must be an int in the range"):
        clone(glc).set_params(k=0).fit(features, labels=labels)


# Awkward input


@pytest.mark.parametrize(
    ('labels', 'reason'),
    [
        (np.full(360, -1), '0 images have a label|no image has a label'),
        (np.where(np.arange(360) < 99, np.arange(360) // 9, -1), '99 images have a label'),
        (np.zeros(360, int), '1 clusters for 360 images'),
        (np.arange(360), '360 clusters for 360 images'),
        (np.where(np.arange(360) < 105, np.arange(360) // 5, -1), 'every sub-graph'),
    ],
)
def test_labels_that_teach_nothing(labels, reason):
    features = planted()[0]
    with pytest.raises(UnusableLabelsError, match=reason):
        small_glc().fit(features, labels=labels)
    shifted = np.where(labels < 0, -1, labels + 4)
    with pytest.warns(UserWarning, match=f'labels left as they are: ({reason})'):
        unchanged = small_glc()(features, shifted)
    np.testing.assert_array_equal(unchanged, labels)


@pytest.mark.parametrize(
    ('features', 'labels', 'message'),
    [
        (np.full((8, 2), np.nan), np.zeros(8, int), 'NaN'),
        (np.zeros((0, 2)), np.zeros(0, int), 'non-empty'),
        (np.ones(8), np.zeros(8, int), r'\(N, D\)'),
        (np.ones((8, 2)), np.zeros(7, int), 'got 7 for 8 images'),
        (np.ones((8, 2)), np.zeros(8), 'integers'),
    ],
)
def test_wrong_input(features, labels, message):
    with pytest.raises(ValueError, match=message):
        small_glc()(features, labels)


@pytest.mark.parametrize(
    ('parameter', 'value'),
    [
        ('k', 1),
        ('k', 20.0),
        ('epochs', 0),
        ('steps_per_subgraph', -1),
        ('batch_fraction', 0),
        ('cluster_batches', 2),
        ('member_fraction', 1.5),
        ('link_threshold', -0.1),
        ('overlap_threshold', 'high'),
        ('lr', float('nan')),
        ('clip_norm', 0),
        ('clip_norm', -0.5),
        ('patience', 0),
        ('seed', -1),
    ],
)
def test_parameters_are_checked_at_once(parameter, value):
    linking = 'components' if parameter.endswith('_threshold') else 'communities'
    with pytest.raises(ValueError, match=f"'{parameter}' parameter of"):
        GLC(linking=linking, **{parameter: value})


def test_prediction_needs_a_fit():
    with pytest.raises(NotFittedError):
        small_glc().predict(np.eye(3))


def test_prediction_needs_the_features_of_the_fit():
    features, labels, _ = planted()
    glc = small_glc().fit(features, labels=labels)
    with pytest.raises(ValueError, match='fitted on features of 32 channels, got 31'):
        glc.predict(features[:, :31])


def test_divergence_is_an_error():
    features, labels, _ = planted()
    with pytest.raises(RuntimeError, match='lower lr'):
        small_glc(lr=1e20).fit(features, labels=labels)


def test_fewer_images_than_neighbors_and_fewer_clusters_than_a_subgraph_takes():
    features, labels, truth = planted(num_ids=15, size=10, noise=0)
    corrected = small_glc(k=500, clusters_per_subgraph=10_000)(features, labels)
    assert adjusted_rand_score(corrected, truth) > 0.9


@pytest.mark.slow
def test_duplicated_images():
    features, labels, truth = planted(spread=0, noise=0)
    labels = small_glc(k=12)(features, labels)
    assert adjusted_rand_score(labels, truth) == 1


@pytest.mark.slow
def test_one_giant_cluster():
    features, _, truth = planted()
    labels = np.where(truth < 28, 0, truth)
    corrected = small_glc()(features, labels)
    assert corrected.shape == truth.shape


def test_prediction_of_one_image():
    features, labels, _ = planted()
    np.testing.assert_array_equal(small_glc().fit(features, labels=labels).predict(features[:1]), [-1])
