import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from glc.core.labels import PseudoLabels
from glc.core.memories import ClusterMemory


def unit(*shape: int, seed: int = 0) -> Tensor:
    return torch.nn.functional.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def clusters(centroids: Tensor) -> PseudoLabels:
    """One image per cluster."""
    return PseudoLabels(torch.arange(len(centroids)), centroids)


def naive_update(bank: Tensor, features: Tensor, labels: Tensor, momentum: float, mode: str) -> Tensor:
    """The published rule, one instance after the other, in float64."""
    old, bank = bank.double(), bank.double().clone()
    features = features.double()
    for label in sorted(set(labels.tolist())):
        members = [i for i, other in enumerate(labels.tolist()) if other == label]
        if mode == 'hard':
            members = [min(members, key=lambda i: float(features[i] @ old[label]))]
        for i in members:
            bank[label] = momentum * bank[label] + (1 - momentum) * features[i]
            bank[label] /= bank[label].norm()
    return bank.float()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    num_clusters=st.integers(1, 6),
    batch=st.integers(1, 20),
    momentum=st.sampled_from([0.0, 0.2, 0.9, 1.0]),
    mode=st.sampled_from(['mean', 'hard']),
)
def test_update_equals_the_loop_over_instances(seed, num_clusters, batch, momentum, mode):
    memory = ClusterMemory(momentum=momentum, mode=mode)
    memory.reset(clusters(unit(num_clusters, 8, seed=seed)))
    features = unit(batch, 8, seed=seed + 1)
    labels = torch.randint(num_clusters, (batch,), generator=torch.Generator().manual_seed(seed))
    expected = naive_update(memory.bank, features, labels, momentum, mode)
    memory.update(features, labels)
    torch.testing.assert_close(memory.bank, expected, atol=1e-6, rtol=1e-5)


def test_loss_equals_a_double_loop():
    memory = ClusterMemory(temperature=0.05)
    memory.reset(clusters(unit(5, 8)))
    features, labels = unit(7, 8, seed=3), torch.tensor([0, 1, 2, 3, 4, 4, 0])
    total = 0.0
    for feature, label in zip(features.double(), labels, strict=True):
        logits = [float(feature @ centroid) / 0.05 for centroid in memory.bank.double()]
        total -= logits[label] - float(torch.tensor(logits, dtype=torch.double).logsumexp(0))
    assert memory(features, labels).item() == pytest.approx(total / 7, rel=1e-5)


def test_forward_has_no_side_effect_and_update_keeps_the_gradient_right():
    memory = ClusterMemory()
    memory.reset(clusters(unit(4, 8)))
    features, labels = unit(6, 8, seed=1).requires_grad_(), torch.tensor([0, 1, 2, 3, 0, 1])
    before = memory.bank.clone()
    expected = torch.autograd.grad(memory(features, labels), features)[0]
    assert torch.equal(memory.bank, before)
    loss = memory(features, labels)
    memory.update(features, labels)  # before the backward pass, as a model does
    loss.backward()
    assert not torch.equal(memory.bank, before)
    torch.testing.assert_close(features.grad, expected)


def test_the_bank_is_not_saved_and_follows_the_number_of_clusters():
    memory = ClusterMemory()
    memory.reset(clusters(unit(4, 8)))
    assert memory.state_dict() == {}
    memory.reset(clusters(unit(9, 8)))
    assert memory.num_clusters == 9
    other = copy.deepcopy(memory)
    other.load_state_dict(memory.state_dict(), strict=True)


def test_bfloat16_features_give_a_float32_loss():
    memory = ClusterMemory()
    memory.reset(clusters(unit(4, 8)))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = memory(unit(3, 8).bfloat16(), torch.tensor([0, 1, 2]))
    assert loss.dtype == torch.float32


def test_centroids_alone_still_reset_and_warn():
    old, new = ClusterMemory(), ClusterMemory()
    with pytest.warns(DeprecationWarning, match=r'reset\(centroids\) goes') as caught:
        old.reset(unit(4, 8))
    assert caught[0].filename == __file__
    new.reset(clusters(unit(4, 8)))
    assert torch.equal(old.bank, new.bank)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'temperature': 0}, 'temperature'),
        ({'momentum': 1.5}, 'momentum'),
        ({'mode': 'soft'}, "'mode' parameter of ClusterMemory"),
    ],
)
def test_bad_settings(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ClusterMemory(**kwargs)


def test_use_before_reset():
    with pytest.raises(RuntimeError, match='reset'):
        ClusterMemory()(unit(2, 8), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match='C >= 1'):
        ClusterMemory().reset(clusters(torch.empty(0, 8)))
