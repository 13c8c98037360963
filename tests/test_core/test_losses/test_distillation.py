"""The self-distillation loss against a loop over images, views and outputs in float64."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from glc.core.losses import PartDistillationLoss, clip_each_, cosine_between, move_towards_


def softmax(row, temperature):
    powers = [math.exp((value - max(row)) / temperature) for value in row]
    return [power / sum(powers) for power in powers]


def naive_loss(student, teacher, centre):
    """Mean over heads, pairs of different views and images, one number at a time."""
    terms = []
    for head, (views, targets) in enumerate(zip(student, teacher, strict=True)):
        for t, target in enumerate(targets):
            for v, view in enumerate(views):
                if v == t:
                    continue
                entropies = []
                for image in range(len(view)):
                    q = softmax([x - c for x, c in zip(target[image], centre[head], strict=True)], 0.04)
                    p = softmax(view[image], 0.1)
                    entropies.append(-sum(a * math.log(b) for a, b in zip(q, p, strict=True)))
                terms.append(sum(entropies) / len(entropies))
    return sum(terms) / len(terms), len(terms)


@pytest.fixture
def outputs():
    rng = np.random.default_rng(0)
    student = [rng.uniform(-1, 1, (views, 3, 7)) for views in (11, 5, 5, 5)]
    teacher = [rng.uniform(-1, 1, (2, 3, 7)) for _ in range(4)]
    return student, teacher


def tensors(arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


def test_loss_is_the_naive_one(outputs):
    student, teacher = outputs
    loss = PartDistillationLoss(num_outputs=7)
    loss.centre.copy_(torch.tensor(np.random.default_rng(1).normal(size=(4, 7))))
    expected, terms = naive_loss(student, teacher, loss.centre.double().tolist())
    assert terms == 2 * 10 + 3 * 2 * 4
    assert loss(tensors(student), tensors(teacher)).item() == pytest.approx(expected, rel=1e-5)


def test_gradient_reaches_the_student_only(outputs):
    student, teacher = ([tensor.requires_grad_() for tensor in tensors(arrays)] for arrays in outputs)
    loss = PartDistillationLoss(num_outputs=7)
    loss(student, teacher).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in student)
    assert all(tensor.grad is None for tensor in teacher)
    # One entry of the gradient by finite differences of the naive loss.
    step, arrays = 1e-5, [array.copy() for array in outputs[0]]
    losses = []
    for sign in (1, -1):
        arrays[1][4, 2, 3] = outputs[0][1][4, 2, 3] + sign * step
        losses.append(naive_loss(arrays, outputs[1], np.zeros((4, 7)))[0])
    assert student[1].grad[4, 2, 3].item() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-3)


def test_centre_follows_the_mean_output(outputs):
    loss, expected = PartDistillationLoss(num_outputs=7), np.zeros((4, 7))
    for _ in range(3):
        loss.update(tensors(outputs[1]))
        expected = 0.9 * expected + 0.1 * np.stack([array.mean((0, 1)) for array in outputs[1]])
    np.testing.assert_allclose(loss.centre, expected, atol=1e-6)
    assert 'centre' in loss.state_dict()


def test_teacher_entropy_tells_collapse():
    loss = PartDistillationLoss(num_outputs=16, num_heads=1)
    assert loss.teacher_entropy([torch.zeros(2, 3, 16)]).item() == pytest.approx(math.log(16))
    peaked = torch.zeros(2, 3, 16)
    peaked[..., 5] = 9.0
    assert loss.teacher_entropy([peaked]).item() == pytest.approx(0, abs=1e-6)


def test_half_precision_outputs_are_compared_in_float32(outputs):
    loss = PartDistillationLoss(num_outputs=7)
    half = [[tensor.bfloat16() for tensor in tensors(arrays)] for arrays in outputs]
    single = [[tensor.float() for tensor in part] for part in half]
    with torch.autocast('cpu', torch.bfloat16):
        value = loss(*half)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(*single).item(), rel=1e-6)


def test_errors():
    for arguments, match in (
        (dict(num_outputs=0), 'num_outputs'),
        (dict(num_outputs=2, num_heads=0), 'num_heads'),
        (dict(num_outputs=2, teacher_temperature=0), 'teacher_temperature'),
        (dict(num_outputs=2, centre_momentum=2), 'centre_momentum'),
    ):
        with pytest.raises(ValueError, match=match):
            PartDistillationLoss(**arguments)
    loss = PartDistillationLoss(num_outputs=2, num_heads=1)
    with pytest.raises(ValueError, match='1 heads, got outputs of 2'):
        loss([torch.zeros(2, 1, 2)] * 2, [torch.zeros(2, 1, 2)])
    with pytest.raises(ValueError, match='do not begin with'):
        loss([torch.zeros(1, 1, 2)], [torch.zeros(2, 1, 2)])


def test_cosine():
    values = [cosine_between(0.996, 1.0, i / 4) for i in range(5)]
    half = 0.002 * math.sqrt(0.5)
    assert values == pytest.approx([0.996, 0.998 - half, 0.998, 0.998 + half, 1.0])


def test_average_moves_towards_the_module():
    average, module = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    nn.init.constant_(module.weight, 3.0)
    module.running_mean.fill_(7.0)
    move_towards_(average, module, 0.75)
    assert average.weight.tolist() == [1.5, 1.5]
    assert average.running_mean.tolist() == [0.0, 0.0]


def test_every_gradient_is_limited_by_itself():
    large, small, unused = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    large.grad, small.grad = torch.tensor([6.0, 8.0]), torch.tensor([0.3, 0.4])
    clip_each_([large, small, unused], 3.0)
    torch.testing.assert_close(large.grad, torch.tensor([1.8, 2.4]))
    torch.testing.assert_close(small.grad, torch.tensor([0.3, 0.4]))
