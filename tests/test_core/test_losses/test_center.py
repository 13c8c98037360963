import pytest
import torch

from glc.core.losses import CenterLoss


def batch():
    torch.manual_seed(0)
    loss = CenterLoss(num_classes=4, in_channels=3, lr=0.3).double()
    return loss, torch.randn(5, 3, dtype=torch.float64), torch.tensor([2, 0, 2, 2, 3])


def test_center_loss_equals_a_loop():
    loss, features, labels = batch()
    total = 0.0
    for feature, label in zip(features.tolist(), labels.tolist(), strict=True):
        total += sum((x - c) ** 2 for x, c in zip(feature, loss.centers[label].tolist(), strict=True))
    assert loss(features, labels).item() == pytest.approx(total / 5, rel=1e-12)


def test_centers_take_a_step_of_gradient_descent():
    loss, features, labels = batch()
    centers = loss.centers.clone().requires_grad_()
    torch.stack([(features[i] - centers[labels[i]]).square().sum() for i in range(5)]).mean().backward()
    expected = (centers - 0.3 * centers.grad).detach()
    features.requires_grad_()
    value = loss(features, labels)
    loss.update(features, labels)
    torch.testing.assert_close(loss.centers, expected)
    assert torch.equal(loss.centers[1], centers[1]), 'no image of this identity'
    value.backward()  # the features are drawn to the centers before the update
    torch.testing.assert_close(features.grad, 2 / 5 * (features - centers[labels]).detach())


def test_precision_and_shapes():
    loss = CenterLoss(2, 3)
    labels = torch.tensor([0, 1])
    assert loss(torch.ones(2, 3, dtype=torch.bfloat16), labels).dtype == torch.float32
    loss.update(torch.ones(2, 3, dtype=torch.bfloat16), labels)
    assert loss.centers.dtype == torch.float32
    with pytest.raises(
        ValueError, match=r'needs \(B, 3\) features and \(B,\) labels, got \(2, 4\) and \(2,\)'
    ):
        loss(torch.ones(2, 4), labels)
