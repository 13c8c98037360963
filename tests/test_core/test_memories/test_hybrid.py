import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.labels import PseudoLabels
from glc.core.memories import HybridMemory
from tests.test_core.test_memories.test_cluster import naive_update, unit


def problem(seed: int, num_images: int = 20, num_clusters: int = 4, batch: int = 12):
    """A labeling and a batch of indices, outliers among them, with new features."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(-1, num_clusters, (num_images,), generator=generator)
    labels[:num_clusters] = torch.arange(num_clusters)
    indices = torch.randint(num_images, (batch,), generator=generator)
    reset = dict(
        centroids=unit(num_clusters, 8, seed=seed + 1), labels=labels, features=unit(num_images, 8, seed=seed)
    )
    return reset, unit(batch, 8, seed=seed + 2), labels[indices], indices


def naive_loss(labels, instances, batch, indices, temperature):
    """Cross entropy over class means, image by image, in float64; a class is a set of images."""
    groups = [[i for i, other in enumerate(labels) if other == label] for label in range(max(labels) + 1)]
    groups += [[i] for i, label in enumerate(labels) if label < 0]
    means = [torch.stack([instances[i] for i in group]).mean(0) for group in groups]
    total = 0.0
    for x, index in zip(batch.double(), indices.tolist(), strict=True):
        logits = torch.stack([x @ mean / temperature for mean in means])
        own = next(number for number, group in enumerate(groups) if index in group)
        total += float(logits.logsumexp(0) - logits[own])
    return total / len(batch)


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 10_000),
    num_clusters=st.integers(1, 6),
    momentum=st.sampled_from([0.0, 0.2, 0.9, 1.0]),
)
def test_losses_and_updates_equal_the_loops(seed, num_clusters, momentum):
    reset, batch, labels, indices = problem(seed, num_clusters=num_clusters)
    memory = HybridMemory(0.2, momentum)
    memory.reset(PseudoLabels(**reset))
    assert memory.num_clusters == num_clusters
    instances = reset['features'].double()
    for step in range(3):
        loss = memory(batch, labels, indices).item()
        assert loss == pytest.approx(
            naive_loss(reset['labels'].tolist(), instances, batch, indices, 0.2), rel=1e-4, abs=1e-5
        )
        instances = naive_update(instances, batch, indices, momentum, 'mean').double()
        memory.update(batch, labels, indices)
        torch.testing.assert_close(memory.instances.double(), instances, atol=1e-6, rtol=1e-5)
        batch, indices = unit(12, 8, seed=seed + 10 + step), indices.roll(1) * 7 % 20


def test_reset_copies_and_the_update_comes_before_the_backward_pass():
    reset, batch, labels, indices = problem(1)
    given_features, given_labels = reset['features'].clone(), reset['labels'].clone()
    memory = HybridMemory()
    memory.reset(PseudoLabels(**reset))
    batch.requires_grad_()
    expected = torch.autograd.grad(memory(batch, labels, indices), batch)[0]
    loss = memory(batch, labels, indices)
    memory.update(batch, labels, indices)
    loss.backward()
    torch.testing.assert_close(batch.grad, expected)
    assert torch.equal(reset['features'], given_features)
    assert torch.equal(reset['labels'], given_labels)
    assert memory.state_dict() == {}


def test_mistakes_are_explained():
    reset, batch, labels, indices = problem(2)
    with pytest.raises(RuntimeError, match='call reset'):
        HybridMemory()(batch, labels, indices)
    with pytest.raises(ValueError, match='HybridMemory needs features of all images'):
        HybridMemory().reset(PseudoLabels(reset['labels'], reset['centroids']))
    memory = HybridMemory()
    memory.reset(PseudoLabels(**reset))
    with pytest.raises(ValueError, match='needs the indices'):
        memory.update(batch, labels)
