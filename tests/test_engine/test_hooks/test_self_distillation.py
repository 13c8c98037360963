"""Schedules of self-distillation: one step by hand, limited gradients, a loss that is no number."""

import copy
import math
import types

import pytest
import torch

from glc.apis import build_runner, prepare_config
from glc.core.losses import PartDistillationLoss
from glc.engine import SelfDistillationHook
from glc.registry import OPTIMIZERS
from tests.runs import pass_config


@pytest.mark.slow
def test_a_step_of_the_teacher_and_clipping(images, tmp_path):
    """The first iteration by hand: gradient limited per tensor, AdamW, then the teacher's average."""
    cfg = pass_config(images, tmp_path, **{'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset.indices = 8
    cfg.default_hooks.self_distillation.clip_norm = 1e-3
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.param_scheduler = []
    runner = build_runner(prepare_config(copy.deepcopy(cfg)))
    loader = runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)
    by_hand = copy.deepcopy(runner.model)
    (batch,) = list(loader)
    runner.train()

    batch = by_hand.data_preprocessor(batch, True)
    by_hand.loss(batch['inputs'])['loss_distillation'].backward()
    last = {id(weight) for weight in by_hand.last_layers()}
    before = {name: p.detach().clone() for name, p in by_hand.student.named_parameters()}
    after = dict(runner.model.student.named_parameters())
    teacher = dict(runner.model.teacher.named_parameters())
    lr = 2e-3 * 8 / 256
    for name, parameter in by_hand.student.named_parameters():
        if id(parameter) in last:
            expected = before[name]
        else:
            grad = parameter.grad * min(1, 1e-3 / (parameter.grad.norm() + 1e-6))
            decay = 0.04 if parameter.ndim > 1 else 0.0
            # The first step of Adam: both moments are corrected to the gradient itself.
            expected = before[name] * (1 - lr * decay) - lr * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(after[name].detach(), expected, atol=2e-6, rtol=1e-3)
        torch.testing.assert_close(teacher[name], 0.99 * before[name] + 0.01 * after[name].detach())


def test_gradients_are_unscaled_when_they_are_limited():
    """Under a loss scale of 1,024 the limit acts on the gradient itself, and the frozen layer takes no step."""
    trained, frozen = torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{'params': [trained]}, {'params': [frozen], 'weight_decay': 0.5}], lr=1.0)
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(last_layers=lambda: [frozen]),
        optim_wrapper=types.SimpleNamespace(optimizer=optimizer),
        epoch=0,
    )
    SelfDistillationHook(clip_norm=3.0).before_train(runner)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    for factor, moved in ((1.0, [-1.0, -2.0]), (10.0, [-1.0 - 3 / 5**0.5, -2.0 - 6 / 5**0.5])):
        optimizer.zero_grad()
        scaler.scale((torch.tensor([1.0, 2.0]) * factor * (trained + frozen)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert trained.tolist() == pytest.approx(moved)
        assert frozen.tolist() == [1.0, 1.0]  # no weight decay either
    runner.epoch = 1  # the last layers are frozen in the first epoch alone
    optimizer.zero_grad()
    frozen.sum().backward()
    optimizer.step()
    assert frozen.tolist() == [-0.5, -0.5]


def test_a_loss_that_is_no_number_stops_the_run():
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(update_teacher=lambda momentum: None),
        message_hub=types.SimpleNamespace(update_scalar=lambda name, value: None),
        iter=0,
        max_iters=2,
    )
    hook = SelfDistillationHook(check_interval=2)
    for index, loss in ((0, math.nan), (1, 7.0)):  # looked at in every second iteration
        hook.after_train_iter(runner, index, outputs={'loss': torch.tensor(loss)})
    with pytest.raises(RuntimeError, match='nan'):
        hook.after_train_iter(runner, 1, outputs={'loss': torch.tensor(math.nan)})


def test_momentum_and_weight_decay_follow_their_cosines():
    """From 0.9 to 1 and from the optimizer's 0.1 to 0.5; a group without weight decay stays without."""
    momenta, logged = [], []
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    groups = [{'params': parameters[:1]}, {'params': parameters[1:2], 'weight_decay': 0.0}]
    optimizer = torch.optim.SGD([*groups, {'params': parameters[2:]}], lr=1.0, weight_decay=0.1)
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(update_teacher=momenta.append),
        message_hub=types.SimpleNamespace(update_scalar=lambda name, value: logged.append((name, value))),
        optim_wrapper=types.SimpleNamespace(optimizer=optimizer),
        max_iters=4,
    )
    hook = SelfDistillationHook(teacher_momentum=0.9, final_weight_decay=0.5)
    decays = []
    for runner.iter in range(4):
        hook.before_train_iter(runner, runner.iter)
        hook.after_train_iter(runner, runner.iter, outputs={'loss': torch.tensor(1.0)})
        decays.append([group['weight_decay'] for group in optimizer.param_groups])
    rise = [(1 - math.cos(math.pi * i / 4)) / 2 for i in range(4)]
    assert momenta == pytest.approx([0.9 + 0.1 * x for x in rise])
    assert [decay[0] for decay in decays] == pytest.approx([0.1 + 0.4 * x for x in rise])
    assert [decay[1:] for decay in decays] == [[0.0, decay[0]] for decay in decays]
    assert [value for name, value in logged if name == 'train/teacher_momentum'] == momenta
    assert [value for name, value in logged if name == 'train/weight_decay'] == [decay[0] for decay in decays]

    SelfDistillationHook(final_weight_decay=None).before_train_iter(runner, 0)
    assert [group['weight_decay'] for group in optimizer.param_groups] == decays[-1]


def test_teacher_temperature_rises_over_the_first_epochs():
    loss = PartDistillationLoss(4, teacher_temperature=0.07)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(distillation=loss),
        optim_wrapper=types.SimpleNamespace(optimizer=optimizer),
    )
    hook = SelfDistillationHook(temperature_warm_up=(0.04, 4))
    hook.before_train(runner)
    found = []
    for runner.epoch in range(6):
        hook.before_train_epoch(runner)
        found.append(loss.teacher_temperature)
    assert found == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.07, 0.07])


def test_lars_is_an_optimizer():
    """Its first step is the gradient times the ratio of norms, times 0.001 and the learning rate."""
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    optimizer = OPTIMIZERS.build(dict(type='LARS', params=[weight], lr=0.5, weight_decay=1e-12))
    weight.grad = torch.tensor([[0.0, 2.0]])
    optimizer.step()
    torch.testing.assert_close(weight.data, torch.tensor([[3.0, 4.0 - 0.5 * 0.001 * 5 / 2 * 2]]))


@pytest.mark.parametrize('momentum', [-0.1, 1.1])
def test_bad_momentum(momentum):
    with pytest.raises(ValueError, match=rf'teacher_momentum must be in \[0, 1\], got {momentum}'):
        SelfDistillationHook(teacher_momentum=momentum)
