"""The restart: from the initial weights, once, with an optimizer that has forgotten."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from glc.engine import MeanTeacherHook, RestartHook
from tests.runs import RESTART, tiny_config, train


class Run:
    """As much of a run as the hook needs: a network, SGD with two groups of different rates, a mean teacher."""

    def __init__(self, hook: RestartHook) -> None:
        torch.manual_seed(0)
        self.hook, self.epoch, self.train_loop = hook, 0, None
        self.model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
        first, *rest = self.model.parameters()
        groups = [{'params': [first], 'lr': 0.2}, {'params': rest}]
        self.optim_wrapper = OptimWrapper(torch.optim.SGD(groups, lr=0.1, momentum=0.9))
        for group in self.optim_wrapper.param_groups:
            group['initial_lr'] = group['lr']  # as a schedule leaves it
        self.teacher = MeanTeacherHook(momentum=0.5)
        self.hooks = [hook, self.teacher]
        self.logger = SimpleNamespace(info=lambda line: None)
        self.teacher.before_run(self)
        hook.before_train(self)

    def train_epoch(self) -> None:
        """Two steps, and what the schedule does to the rates."""
        self.hook.before_train_epoch(self)
        for _ in range(2):
            self.optim_wrapper.update_params(self.model(torch.randn(8, 3)).square().mean())
            self.teacher.ema_model.update_parameters(self.model)
        for group in self.optim_wrapper.param_groups:
            group['lr'] *= 0.5
        self.epoch += 1

    def state(self, network: nn.Module | None = None) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in (network or self.model).state_dict().items()}

    def rates(self) -> list[float]:
        return [group['lr'] for group in self.optim_wrapper.optimizer.param_groups]


@pytest.mark.parametrize(('lr', 'rates'), [(None, [0.2, 0.1]), (0.03, [0.06, 0.03])])
def test_network_optimizer_and_teacher_start_again(lr, rates):
    run = Run(RestartHook(epoch=2, lr=lr))
    initial = run.state()
    run.train_epoch()
    run.train_epoch()
    assert not torch.equal(run.state()['2.weight'], initial['2.weight'])
    assert len(run.optim_wrapper.optimizer.state) == 6
    run.hook.before_train_epoch(run)
    for network in (run.model, run.teacher.teacher):
        for name, value in run.state(network).items():
            assert torch.equal(value, initial[name]), name
    assert not run.optim_wrapper.optimizer.state
    assert run.rates() == pytest.approx(rates)
    run.optim_wrapper.update_params(run.model(torch.randn(8, 3)).square().mean())
    run.teacher.ema_model.update_parameters(run.model)
    after = run.state()  # the first update of an average is a copy
    assert all(torch.equal(value, after[name]) for name, value in run.state(run.teacher.teacher).items())


@pytest.mark.parametrize(('lr', 'base'), [(None, 0.1), (0.03, 0.03)])
def test_logged_base_rate_restarts_too(lr, base):
    run = Run(RestartHook(epoch=1, lr=lr))
    run.train_epoch()
    assert run.optim_wrapper.get_lr()['base_lr'] == pytest.approx([0.05])
    run.hook.before_train_epoch(run)
    assert run.optim_wrapper.get_lr()['base_lr'] == pytest.approx([base])


def test_other_epochs_and_a_past_restart_change_nothing():
    run = Run(RestartHook(epoch=1))
    for epoch in range(4):
        before, momenta = run.state(), len(run.optim_wrapper.optimizer.state)
        run.hook.before_train_epoch(run)
        if epoch != 1:
            assert all(torch.equal(value, before[name]) for name, value in run.state().items())
            assert len(run.optim_wrapper.optimizer.state) == momenta
            run.train_epoch()
        else:
            run.epoch += 1


def test_initial_state_travels_until_the_restart():
    run = Run(RestartHook(epoch=1, lr=0.03))
    initial = run.state()
    run.train_epoch()
    checkpoint = {}
    run.hook.before_save_checkpoint(run, checkpoint)
    resumed = RestartHook(epoch=1, lr=0.03)
    resumed.after_load_checkpoint(run, checkpoint)
    resumed.before_train(run)
    resumed.before_train_epoch(run)
    assert all(torch.equal(value, initial[name]) for name, value in run.state().items())
    assert run.rates() == pytest.approx([0.06, 0.03])
    run.epoch, late = 2, {}
    resumed.before_save_checkpoint(run, late)
    assert not late
    past = RestartHook(epoch=1)
    past.after_load_checkpoint(run, late)
    past.before_train(run)  # nothing is missing: the restart has happened


def test_checkpoint_before_the_restart_must_bring_the_initial_state():
    run = Run(RestartHook(epoch=1))
    run.train_epoch()
    resumed = RestartHook(epoch=1)
    resumed.after_load_checkpoint(run, {})
    with pytest.raises(
        RuntimeError, match=r'restart at epoch 1: the checkpoint of epoch 1 .*without RestartHook'
    ):
        resumed.before_train(run)


def test_a_restart_needs_an_epoch_before_it():
    RestartHook(epoch=1)
    with pytest.raises(ValueError, match='got epoch=0'):
        RestartHook(epoch=0)


@pytest.mark.slow
def test_features_of_the_old_network_are_forgotten(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    cfg.merge_from_dict({**RESTART, 'default_hooks.pseudo_label.history': 1.0})
    train(cfg)
    carried = ['earlier_features' in torch.load(tmp_path / f'epoch_{n}.pth') for n in (1, 2, 3, 4)]
    assert carried == [True, True, False, True]


@pytest.mark.slow
def test_restart_has_its_own_schedule_and_labels_of_the_old_network(
    images, tmp_path, monkeypatch, extractions
):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    cfg.merge_from_dict(RESTART)
    seen = {}
    original = RestartHook.before_train_epoch

    def spied(self, runner):
        original(self, runner)
        weights = {name: value.clone() for name, value in runner.model.state_dict().items()}
        seen[runner.epoch] = (weights, runner.optim_wrapper.optimizer.param_groups[0]['lr'])

    monkeypatch.setattr(RestartHook, 'before_train_epoch', spied)
    train(cfg)
    for name, value in seen[0][0].items():
        assert torch.equal(seen[2][0][name], value), name
    assert any(not torch.equal(extractions[2][1][name], value) for name, value in seen[0][0].items())
    assert [lr for _, lr in seen.values()] == pytest.approx([0.05, 0.025, 0.02, 0.002])
    carried = ['restart_initial' in torch.load(tmp_path / f'epoch_{n}.pth') for n in (1, 2, 3, 4)]
    assert carried == [True, True, False, False]


@pytest.mark.slow
def test_run_without_the_hook_cannot_be_resumed_with_it(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    train(tiny_config(images, tmp_path / 'plain', train_cfg__max_epochs=1))
    cfg.merge_from_dict(RESTART)
    with pytest.raises(RuntimeError, match='written without RestartHook'):
        train(cfg, resume=tmp_path / 'plain' / 'epoch_1.pth')
