"""Supervised heads and their classifiers against formulas."""

import math

import pytest
import torch

from glc.core.losses import batch_hard_triplet_loss
from glc.models import BranchHead, SupervisedHead
from glc.models.heads import CosineClassifier
from glc.registry import MODELS

LABELS = torch.tensor([0, 0, 1, 1, 4, 4])


def arc(c, true, s, m):
    angle = math.acos(c)
    if not true:
        return s * c
    return s * (math.cos(angle + m) if angle + m < math.pi else c - m * math.sin(m))


def additive(c, true, s, m):
    return s * (c - m * true)


def circle(c, true, s, m):
    return s * (max(0, 1 + m - c) * (c - 1 + m) if true else max(0, c + m) * (c - m))


@pytest.mark.parametrize(
    ('name', 'formula'),
    [('ArcFace', arc), ('CosFace', additive), ('AMSoftmax', additive), ('CircleClassifier', circle)],
)
def test_cosine_classifiers_equal_a_loop(name, formula):
    torch.manual_seed(0)
    cfg = dict(type=name, scale=20.0, margin=0.4)
    head = SupervisedHead(3, 5, classifier=cfg, triplet_weight=0.0, label_smoothing=0.1).double()
    features = torch.randn(200, 3, dtype=torch.float64)
    labels = torch.arange(200) % 5
    expected = torch.empty(200, 5, dtype=torch.float64)
    obtuse = 0
    for row, feature in enumerate(features.tolist()):
        for column, vector in enumerate(head.classifier.weight.tolist()):
            dot = sum(x * w for x, w in zip(feature, vector, strict=True))
            cosine = dot / math.hypot(*feature) / math.hypot(*vector)
            true = column == labels[row]
            obtuse += bool(true and math.acos(cosine) + 0.4 > math.pi)
            expected[row, column] = formula(cosine, bool(true), 20.0, 0.4)
    assert obtuse > 3, 'angles beyond pi - m are among them'
    torch.testing.assert_close(head.classifier(features, labels), expected, rtol=1e-9, atol=1e-9)
    log_p = expected.log_softmax(1)
    loss = -(0.9 * log_p[range(200), labels] + 0.1 * log_p.mean(1)).mean()
    torch.testing.assert_close(head.loss(features, features, labels)['loss_id'], loss)


def test_no_gradient_through_the_paces_of_the_circle_loss():
    head = MODELS.build(dict(type='CircleClassifier', in_channels=2, num_classes=2, scale=1.0, margin=0.25))
    with torch.no_grad():
        head.weight.copy_(torch.eye(2))
    angle = torch.tensor(0.6, requires_grad=True)
    feature = torch.stack([angle.cos(), angle.sin()])[None]
    head(feature, torch.tensor([0]))[0, 0].backward()
    assert angle.grad.item() == pytest.approx(-math.sin(0.6) * (1.25 - math.cos(0.6)), rel=1e-5)


@pytest.mark.parametrize('name', ['ArcFace', 'CosFace', 'CircleClassifier'])
def test_cosine_classifiers_are_finite_and_in_float32_under_autocast(name):
    head = MODELS.build(dict(type=name, in_channels=4, num_classes=3))
    features = head.weight.detach().clone().requires_grad_()  # cosines of 1, up to rounding
    with torch.autocast('cpu', dtype=torch.bfloat16):
        logits = head(features.bfloat16(), torch.arange(3))
    assert logits.dtype == head.weight.dtype == torch.float32
    logits.sum().backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(head.weight.grad).all()


@pytest.mark.parametrize('wrong', [dict(scale=0.0), dict(margin=-0.1)])
def test_scale_and_margin_are_checked(wrong):
    with pytest.raises(ValueError, match=r'ArcFace needs scale > 0 and margin >= 0'):
        MODELS.build(dict(type='ArcFace', in_channels=4, num_classes=3, **wrong))


def test_center_loss_is_of_the_features_before_the_neck_and_learns_in_training():
    torch.manual_seed(0)
    head = SupervisedHead(8, 5, center_weight=0.01, center_lr=0.2)
    before, after = torch.randn(6, 8), torch.randn(6, 8)
    expected = 0.01 * (before - head.center.centers[LABELS]).square().sum(1).mean()
    torch.testing.assert_close(head.eval().loss(before, after, LABELS)['loss_center'], expected)
    torch.testing.assert_close(head.train().loss(before, after, LABELS)['loss_center'], expected)
    assert head.loss(before, after, LABELS)['loss_center'] < expected
    assert 'loss_center' not in SupervisedHead(8, 5).loss(before, after, LABELS)
    assert not [name for name, _ in head.named_parameters() if 'center' in name], 'not of the optimizer'
    assert 'center.centers' in head.state_dict()


def test_triplets_of_unit_features():
    before = torch.randn(6, 8)
    loss = SupervisedHead(8, 5, unit_triplets=True, margin=0.3).loss(before, before, LABELS)['loss_triplet']
    torch.testing.assert_close(
        loss, batch_hard_triplet_loss(before / before.norm(dim=1, keepdim=True), LABELS, 0.3)
    )


@pytest.mark.parametrize('classifier', [None, dict(type='CosFace', margin=0.2)])
def test_losses_of_branches(classifier):
    torch.manual_seed(0)
    head = BranchHead(8, 5, num_branches=4, id_weight=2.0, classifier=classifier, center_weight=0.1)
    before, after = torch.randn(6, 4, 8), torch.randn(6, 4, 8)
    single = []
    for branch, own in enumerate([head.classifier, *head.branch_classifiers]):
        one = SupervisedHead(8, 5, id_weight=2.0, classifier=classifier)
        one.classifier = own
        single.append(one.loss(before[:, branch], after[:, branch], LABELS))
    center = 0.1 * (before[:, 0] - head.center.centers[LABELS]).square().sum(1).mean()
    losses = head.loss(before, after, LABELS)
    for name in ('loss_id', 'loss_triplet'):
        first, *others = (one[name] for one in single)
        torch.testing.assert_close(losses[name], 0.5 * first + 0.5 * sum(others) / 3)
    torch.testing.assert_close(losses['loss_center'], center)
    assert len({own.weight.data_ptr() for own in (head.classifier, *head.branch_classifiers)}) == 4


def test_wrong_branches_are_named():
    with pytest.raises(ValueError, match='num_branches must be at least 2, got 1'):
        BranchHead(8, 5, num_branches=1)
    for shape in [(6, 8), (6, 3, 8)]:
        with pytest.raises(ValueError, match=r"BranchHead has 5 branches.*fusion to 'branches'"):
            BranchHead(8, 5).loss(torch.ones(shape), torch.ones(shape), LABELS)


def test_a_classifier_needs_formulas():
    with pytest.raises(NotImplementedError):
        CosineClassifier(4, 3)(torch.ones(1, 4), torch.tensor([0]))
