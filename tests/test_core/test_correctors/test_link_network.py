"""The graph network against plain dense computations in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from glc.core.correctors.link_network import GraphConvolution, LinkPredictor, aggregate_neighbors, focal_loss
from tests.utils import shared_data


def random_graph(num_nodes, dim, seed=0):
    """Unit features (N, D) and a dense random adjacency (N, N) whose rows sum to 1."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(num_nodes, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    weights = rng.random((num_nodes, num_nodes)) * (rng.random((num_nodes, num_nodes)) < 0.3)
    weights = np.maximum(weights, weights.T) + np.eye(num_nodes)
    return features.astype(np.float32), (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def dense_logits(state, features, adjacency, rows, cols):
    """The published formula, pair by pair, in float64."""
    state = {name: value.double().numpy() for name, value in state.items()}
    x, a = features.astype(np.float64), adjacency.astype(np.float64)
    h = np.maximum(np.concatenate([x, a @ x], axis=1) @ state['conv1.weight'] + state['conv1.bias'], 0)
    logits = []
    for i, j in zip(rows, cols, strict=True):
        hidden = state['classifier.0.weight'] @ np.concatenate([h[i], h[j]]) + state['classifier.0.bias']
        hidden = np.where(hidden > 0, hidden, state['classifier.1.weight'] * hidden)
        logits.append(state['classifier.2.weight'] @ hidden + state['classifier.2.bias'])
    return torch.tensor(np.array(logits))


def assert_forward_is_exact(network, num_nodes, dim):
    features, adjacency = random_graph(num_nodes, dim)
    rng = np.random.default_rng(1)
    rows, cols = rng.integers(num_nodes, size=(2, 200))
    inputs = aggregate_neighbors(torch.from_numpy(features), sparse.csr_array(adjacency))
    with torch.no_grad():
        logits = network(inputs, torch.from_numpy(rows), torch.from_numpy(cols))
    expected = dense_logits(network.state_dict(), features, adjacency, rows, cols)
    torch.testing.assert_close(logits.double(), expected, rtol=1e-5, atol=1e-5)
    assert expected.std() > 0.01


def test_published_weights_load_and_give_the_dense_forward_pass():
    state = {}
    for part in ('backbone', 'head'):
        path = shared_data(f'weights/glc_gcn_{part}.pth')
        state.update(torch.load(path, map_location='cpu', weights_only=True))
    network = LinkPredictor(384, 512)
    network.load_state_dict(state, strict=True)
    assert_forward_is_exact(network, num_nodes=60, dim=384)


@pytest.mark.parametrize(('dim', 'hidden_dim'), [(384, 512), (7, 5)])
def test_random_weights_give_the_dense_forward_pass(dim, hidden_dim):
    torch.manual_seed(0)
    network = LinkPredictor(dim, hidden_dim)
    torch.nn.init.normal_(network.conv1.bias)
    torch.nn.init.normal_(network.classifier[1].weight)
    assert_forward_is_exact(network, num_nodes=40, dim=dim)


def test_split_head_has_the_gradients_of_the_concatenated_head():
    torch.manual_seed(0)
    network = LinkPredictor(6, 8).double()
    inputs = torch.randn(20, 12, dtype=torch.float64)
    rows, cols = torch.randint(20, (2, 50))
    targets = torch.randint(2, (50,))
    names, parameters = zip(*network.named_parameters(), strict=True)
    hidden = network.conv1(inputs)
    plain = network.classifier(torch.cat([hidden[rows], hidden[cols]], dim=1))
    split = network(inputs, rows, cols)
    torch.testing.assert_close(split, plain)
    expected = torch.autograd.grad(focal_loss(plain, targets), parameters)
    actual = torch.autograd.grad(focal_loss(split, targets), parameters)
    for name, value, reference in zip(names, actual, expected, strict=True):
        assert reference.abs().max() > 0, name
        torch.testing.assert_close(value, reference)


def test_a_pair_is_ordered():
    torch.manual_seed(0)
    network = LinkPredictor(4, 8)
    inputs = torch.randn(2, 8)
    one, other = torch.tensor([0]), torch.tensor([1])
    assert not torch.allclose(network(inputs, one, other), network(inputs, other, one))


def test_aggregate_neighbors_is_the_weighted_mean():
    features, adjacency = random_graph(30, 5)
    inputs = aggregate_neighbors(torch.from_numpy(features), sparse.csr_array(adjacency))
    assert inputs.dtype == torch.float32
    np.testing.assert_array_equal(inputs[:, :5], features)
    np.testing.assert_allclose(inputs[:, 5:], adjacency.astype(np.float64) @ features, atol=1e-6)


def test_initial_weights():
    torch.manual_seed(0)
    layer = GraphConvolution(100, 60)
    bound = (6 / (200 + 60)) ** 0.5  # Xavier uniform
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    assert not layer.bias.any()


def test_distance_start():
    torch.manual_seed(0)
    network = LinkPredictor(6, 16)
    torch.nn.init.normal_(network.classifier[0].bias)
    network.start_as_distance()
    inputs = torch.randn(30, 12)
    rows, cols = torch.randint(30, (2, 100))
    hidden = network.conv1(inputs)
    weight, out = network.classifier[0].weight[:, :16], network.classifier[2]
    distance = ((hidden[rows] - hidden[cols]) @ weight.T).abs()
    torch.testing.assert_close(network(inputs, rows, cols), distance @ out.weight.T + out.bias)
    torch.testing.assert_close(network(inputs, rows, cols), network(inputs, cols, rows))
    assert (out.weight[0] > 0).all()
    assert (out.weight[1] < 0).all()


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 10**6),
    num_pairs=st.integers(1, 8),
    gamma=st.sampled_from([0.0, 0.5, 2.0]),
    alpha=st.sampled_from([1.0, 0.25]),
)
def test_focal_loss_against_a_loop(seed, num_pairs, gamma, alpha):
    rng = np.random.default_rng(seed)
    logits, targets = rng.normal(scale=3, size=(num_pairs, 2)), rng.integers(2, size=num_pairs)
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        probability = np.exp(row[target]) / (np.exp(row[0]) + np.exp(row[1]))
        total -= alpha * (1 - probability) ** gamma * np.log(probability)
    loss = focal_loss(torch.tensor(logits), torch.tensor(targets), gamma, alpha)
    assert loss.item() == pytest.approx(total / num_pairs, rel=1e-9, abs=1e-12)


def test_focal_loss_without_gamma_is_the_cross_entropy():
    logits, targets = torch.randn(20, 2), torch.randint(2, (20,))
    torch.testing.assert_close(focal_loss(logits, targets, gamma=0), F.cross_entropy(logits, targets))


def test_focal_loss_of_certain_pairs_has_finite_gradients():
    logits = torch.tensor([[-200.0, 200.0], [200.0, -200.0]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([1, 1]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()
