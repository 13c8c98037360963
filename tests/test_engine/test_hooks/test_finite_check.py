"""A training stops at the first loss, gradient or weight that is no number, and its last checkpoint stays."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from glc.apis import build_runner, prepare_config
from glc.engine import FiniteCheckHook, MeanTeacherHook
from glc.engine.loop import LeftOutError
from glc.models import UnsupervisedReID
from glc.structures import ReIDDataSample
from tests.runs import assert_same, hook_of, log, tiny_config, train

NAN, INF = float('nan'), float('inf')


def runner_of(model, optimizer=None):
    return SimpleNamespace(
        model=model,
        optim_wrapper=SimpleNamespace(optimizer=optimizer or torch.optim.SGD(model.parameters(), lr=0.1)),
        iter=6,
        epoch=1,
    )


def batch(*paths):
    samples = [
        ReIDDataSample(metainfo={'sample_idx': index, **({'img_path': path} if path else {})})
        for index, path in enumerate(paths)
    ]
    return {'inputs': [], 'data_samples': samples}


@pytest.mark.parametrize('value', [NAN, INF, -INF])
def test_a_loss_that_is_no_number_names_iteration_parts_and_files(value):
    outputs = {'loss': torch.tensor(value), 'loss_id': torch.tensor(value), 'loss_tri': torch.tensor(0.5)}
    with pytest.raises(RuntimeError) as caught:
        FiniteCheckHook().after_train_iter(
            runner_of(nn.Linear(1, 1)), 0, batch('d/a.jpg', None, 'd/a.jpg'), outputs
        )
    message = str(caught.value)
    assert message.startswith(
        f'iteration 7 (epoch 2): the loss is {value} (loss {value}, loss_id {value}, loss_tri 0.5)'
    )
    assert '. The images are d/a.jpg, number 1. The training stops' in message


@pytest.mark.parametrize('outputs', [{'loss': torch.tensor(1.0), 'accuracy': torch.tensor(NAN)}, {}, None])
def test_other_values_of_the_log_may_be_anything(outputs):
    FiniteCheckHook().after_train_iter(runner_of(nn.Linear(1, 1)), 0, batch('a.jpg'), outputs)


@pytest.mark.parametrize('value', [NAN, INF])
def test_a_gradient_that_is_no_number_stops_although_the_loss_is_fine(value):
    model = nn.Linear(2, 2)
    run, hook = runner_of(model), FiniteCheckHook()
    hook.before_train(run)
    for gradient in (1e30, value):
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, 1.0)
        model.bias.grad[1] = gradient
        run.optim_wrapper.optimizer.step()
        if gradient == 1e30:
            hook.after_train_iter(run, 0, batch('a.jpg'), {'loss': torch.tensor(1.0)})
    with pytest.raises(RuntimeError, match=r'the loss is 1.0, but a gradient is infinite.*images are a.jpg'):
        hook.after_train_iter(run, 0, batch('a.jpg'), {'loss': torch.tensor(1.0)})
    hook.after_train_iter(
        run, 0, batch('a.jpg'), {'loss': torch.tensor(1.0)}
    )  # a step left out has no gradient


def test_a_step_that_a_scaler_leaves_out_is_no_error():
    model = nn.Linear(2, 2)
    run, hook = runner_of(model), FiniteCheckHook()
    hook.before_train(run)
    scaler = torch.amp.GradScaler('cpu', init_scale=4.0)
    scaler.scale(model(torch.full((1, 2), 1e30)).sum() * 1e30).backward()
    assert not all(torch.isfinite(weight.grad).all() for weight in model.parameters())
    before = [weight.clone() for weight in model.parameters()]
    scaler.step(run.optim_wrapper.optimizer)
    scaler.update()
    hook.after_train_iter(run, 0, batch('a.jpg'), {'loss': torch.tensor(1.0)})
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize('name', ['0.weight', '1.running_var'])
def test_weights_and_statistics_are_looked_at_before_checkpoints_are_written(name):
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    run, hook = runner_of(model), FiniteCheckHook()
    hook.after_train_epoch(run)
    hook.before_save_checkpoint(run, {'state_dict': model.state_dict()})
    model.state_dict()[name].view(-1)[0] = NAN
    with pytest.raises(RuntimeError, match=rf'epoch 2: 1 tensors .*\({name}\)'):
        hook.after_train_epoch(run)
    for part in ('state_dict', 'ema_state_dict'):
        with pytest.raises(RuntimeError, match=rf'checkpoint not written: 1 tensors .*\({name}\)'):
            hook.before_save_checkpoint(run, {'state_dict': {}, part: model.state_dict()})


def test_wrong_settings_are_refused():
    for wrong in ({'action': 'go'}, {'max_skips': 0}):
        with pytest.raises(ValueError, match=r"default_hooks\.finite needs action='stop' or 'skip'"):
            FiniteCheckHook(**wrong)
    model = nn.Linear(1, 1)
    run = runner_of(model)
    run.optim_wrapper._accumulative_counts = 2
    with pytest.raises(ValueError, match=r'set optim_wrapper\.accumulative_counts=1'):
        FiniteCheckHook(action='skip').before_train(run)


@pytest.mark.slow
@pytest.mark.parametrize('damage', ['features', 'gradient'])
def test_an_iteration_that_is_left_out_changes_nothing(images, tmp_path, monkeypatch, damage):
    """Weights, optimizer, statistics, memory and teacher."""
    original, calls = UnsupervisedReID.loss, []

    def damaged(self, inputs, data_samples):
        calls.append([sample.img_path for sample in data_samples])
        if len(calls) == 3:
            kept.update(everything(self, hook_of(runner, MeanTeacherHook).teacher, runner))
            if damage == 'features':
                return original(self, inputs * NAN, data_samples)
            losses = original(self, inputs, data_samples)
            return {'loss_contrast': losses['loss_contrast'] + (self.backbone.layers[0].bias[0] * 0).sqrt()}
        if len(calls) == 4:
            found.update(everything(self, hook_of(runner, MeanTeacherHook).teacher, runner))
        return original(self, inputs, data_samples)

    def everything(model, teacher, runner):
        parts = {'student': dict(model.named_buffers()), 'teacher': dict(teacher.named_buffers())}
        parts['weights'], parts['averages'] = dict(model.named_parameters()), dict(teacher.named_parameters())
        for index, values in enumerate(runner.optim_wrapper.optimizer.state.values()):
            parts[f'optimizer {index}'] = values
        return {
            f'{part} {name}': value.detach().clone()
            for part, values in parts.items()
            for name, value in values.items()
        }

    kept, found = {}, {}
    monkeypatch.setattr(UnsupervisedReID, 'loss', damaged)
    cfg = tiny_config(
        images, tmp_path, train_cfg__max_epochs=1, **{'model.head.memory': dict(type='HybridMemory')}
    )
    cfg.train_dataloader.sampler.iterations = 5
    cfg.default_hooks.finite = dict(type='FiniteCheckHook', action='skip')
    cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
    runner = build_runner(prepare_config(cfg))
    runner.train()
    assert len(kept) > 20
    assert_same(kept, found)
    assert runner.iter == 5
    assert len(calls) == 5
    (line,) = [line for line in log(runner).splitlines() if 'is left out' in line]
    assert 'iteration 3 (epoch 1)' in line
    assert all(path in line for path in calls[2])
    assert all(torch.isfinite(value).all() for value in runner.model.state_dict().values())


def test_too_many_iterations_in_a_row_stop_and_so_does_a_step_that_was_made():
    model = nn.Linear(2, 2)
    run, hook = runner_of(model), FiniteCheckHook(action='skip', max_skips=2)
    run.logger = SimpleNamespace(warning=lambda line: None)
    hook.before_train(run)

    def step(gradient, loss):
        hook.before_train_iter(run, 0)
        for weight in model.parameters():
            weight.grad = torch.full_like(weight, gradient)
        run.optim_wrapper.optimizer.step()
        hook.after_train_step(run, batch('a.jpg'), {'loss': torch.tensor(loss)})

    for _ in range(2):
        for _ in range(2):
            with pytest.raises(LeftOutError):
                step(NAN, 1.0)
        step(1.0, 1.0)
    for _ in range(2):
        with pytest.raises(LeftOutError):
            step(NAN, NAN)
    with pytest.raises(RuntimeError, match=r'images are a\.jpg\. The training stops'):
        step(NAN, 1.0)
    with pytest.raises(RuntimeError, match='The training stops'):
        step(1.0, INF)


@pytest.mark.slow
@pytest.mark.parametrize('damage', ['loss', 'gradient', 'statistics'])
def test_the_last_good_checkpoint_stays(images, tmp_path, monkeypatch, damage):
    """In the last iteration of an epoch that keeps its labels, so nothing after it would meet the damage."""
    original, calls = UnsupervisedReID.loss, []

    def damaged(self, inputs, data_samples):
        losses = original(self, inputs, data_samples)
        calls.append([sample.img_path for sample in data_samples])
        if len(calls) == 4:
            name = next(iter(losses))
            if damage == 'loss':
                losses[name] = losses[name] * NAN
            elif damage == 'gradient':
                losses[name] = losses[name] + (self.backbone.layers[0].bias[0] * 0).sqrt()
            else:
                self.backbone.layers[1].running_mean[0] = NAN
        return losses

    monkeypatch.setattr(UnsupervisedReID, 'loss', damaged)
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=2)
    cfg.default_hooks.checkpoint.max_keep_ckpts = 1
    cfg.default_hooks.pseudo_label.frozen_epochs = [1]
    with pytest.raises(RuntimeError) as caught:
        train(cfg)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    state = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)['state_dict']
    assert all(torch.isfinite(value).all() for value in state.values())
    if damage == 'statistics':
        assert 'backbone.layers.1.running_mean' in str(caught.value)
    else:
        assert 'iteration 4 (epoch 2)' in str(caught.value)
        assert all(Path(path).name in str(caught.value) for path in calls[3])
