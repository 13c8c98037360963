import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.losses import batch_hard_triplet_loss


def naive(features: list[list[float]], labels: list[int], margin: float | None = None) -> float:
    """A double loop over the images, in Python's floats."""
    total = 0.0
    for anchor, label in zip(features, labels, strict=True):
        farthest, nearest = 0.0, math.inf
        for other, other_label in zip(features, labels, strict=True):
            distance = math.dist(anchor, other)
            if other_label == label:
                farthest = max(farthest, distance)
            else:
                nearest = min(nearest, distance)
        gap = farthest - nearest
        total += math.log1p(math.exp(gap)) if margin is None else max(0.0, gap + margin)
    return total / len(labels)


batches = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        st.lists(
            st.lists(st.integers(-20, 20).map(lambda n: n / 4), min_size=3, max_size=3),
            min_size=size,
            max_size=size,
        ),
        st.lists(st.integers(0, 3), min_size=size, max_size=size),
    )
)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(batches, st.sampled_from([None, 0.0, 0.3]))
def test_equals_a_double_loop(batch, margin):
    features, labels = batch
    x = torch.tensor(features, dtype=torch.float64, requires_grad=True)
    loss = batch_hard_triplet_loss(x, torch.tensor(labels), margin)
    assert loss.item() == pytest.approx(naive(features, labels, margin), rel=1e-12)
    loss.backward()
    assert torch.isfinite(x.grad).all(), 'also where images are equal, alone, or all of one identity'


def test_gradient_is_that_of_finite_differences():
    torch.manual_seed(0)
    x = torch.randn(8, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
    assert torch.autograd.gradcheck(lambda x: batch_hard_triplet_loss(x, labels), x)


def test_small_distances_of_long_features_survive_float32_and_autocast():
    x = 1000 + torch.tensor([[0.0], [0.5], [0.25], [4.0]])
    labels = torch.tensor([0, 0, 1, 1])
    expected = naive(x.tolist(), labels.tolist())
    assert batch_hard_triplet_loss(x, labels).item() == pytest.approx(expected, rel=1e-5)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert batch_hard_triplet_loss(x, labels).item() == pytest.approx(expected, rel=1e-5)
    assert batch_hard_triplet_loss(torch.zeros(2, 3).half(), torch.tensor([0, 1])).dtype == torch.float32


@pytest.mark.parametrize(('shape', 'count'), [((4,), 4), ((4, 2), 3), ((0, 2), 0)])
def test_wrong_shapes_are_named(shape, count):
    with pytest.raises(ValueError, match=r'\(B, D\) features and \(B,\) labels'):
        batch_hard_triplet_loss(torch.zeros(shape), torch.zeros(count, dtype=torch.int64))


def test_unknown_identities_are_nobody():
    features = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, -1, 0, 1, -1, 1])
    loss = batch_hard_triplet_loss(features, labels)
    known = labels >= 0
    expected = batch_hard_triplet_loss(features[known], labels[known]) * 4 / 6
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert not features.grad[~known].any()
    assert features.grad[known].isfinite().all()
    with pytest.raises(ValueError, match='labels of the triplet loss must be integers'):
        batch_hard_triplet_loss(features, labels.float())
