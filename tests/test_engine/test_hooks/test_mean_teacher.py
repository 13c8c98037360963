"""The mean teacher: what it averages, and what it is used for."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from glc.apis import build_runner, load_for_test, prepare_config
from glc.engine import MeanTeacherHook
from glc.models import UnsupervisedReID
from tests.runs import hook_of, records, tiny_config


class StudentRecorder(Hook):
    """Remembers the student's weights after every iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.states = []

    def before_train(self, runner):
        self.initial = {k: v.clone() for k, v in runner.model.state_dict().items()}

    def after_train_iter(self, runner, *args, **kwargs):
        self.states.append({k: v.clone() for k, v in runner.model.state_dict().items()})


@pytest.mark.slow
def test_teacher_is_the_moving_average_that_labels_and_is_evaluated(
    images, tmp_path, monkeypatch, extractions
):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=2, train_cfg__val_interval=1)
    cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)

    def init_weights(self):  # after the hook has copied the model
        torch.nn.init.constant_(self.neck.bottleneck.weight, 0.5)

    monkeypatch.setattr(UnsupervisedReID, 'init_weights', init_weights)
    runner = build_runner(prepare_config(cfg))
    recorder = StudentRecorder()
    runner.register_hook(recorder)
    runner.train()

    average = {k: v.double() for k, v in recorder.states[0].items()}
    first_epoch = None
    for number, student in enumerate(recorder.states):
        for name, value in student.items():
            if number and value.is_floating_point():
                average[name] = 0.7 * average[name] + 0.3 * value.double()
        if number == 1:
            first_epoch = dict(average)
    teacher = hook_of(runner, MeanTeacherHook).teacher
    saved = torch.load(tmp_path / 'epoch_2.pth')['state_dict']
    assert any('running_var' in name for name in saved)
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value.double(), average[name].double(), atol=1e-6, rtol=1e-4)
        assert torch.equal(saved[name], value)
    assert all(torch.equal(v, recorder.states[-1][k]) for k, v in runner.model.state_dict().items())

    assert [model is teacher for model, _ in extractions] == [True, True]
    for name, value in extractions[0][1].items():
        assert torch.equal(value, recorder.initial[name]), 'the first labels come from the initial weights'
        torch.testing.assert_close(
            extractions[1][1][name].double(), first_epoch[name].double(), atol=1e-6, rtol=1e-4
        )

    in_training = [record for record in records(runner) if 'reid/mAP' in record][-1]
    cfg.experiment_name = f'{cfg.experiment_name}_test'
    tester = build_runner(cfg)
    load_for_test(tester, str(tmp_path / 'epoch_2.pth'))
    assert tester.test()['reid/mAP'] == pytest.approx(in_training['reid/mAP'])


def test_default_momentum_is_one_in_a_thousand():
    student = nn.BatchNorm1d(2)
    runner = SimpleNamespace(model=student, iter=0, epoch=0, max_iters=9)
    hook = MeanTeacherHook()
    hook.before_run(runner)
    hook.before_train(runner)
    hook.after_train_iter(runner, 0)  # the first update is a copy
    with torch.no_grad():
        student.weight.fill_(2.0)
        student.running_mean.fill_(3.0)
    hook.after_train_iter(runner, 1)
    assert hook.teacher.weight.tolist() == pytest.approx([1.001, 1.001])
    assert hook.teacher.running_mean.tolist() == pytest.approx([0.003, 0.003])
    assert student.weight.tolist() == [2.0, 2.0]


def test_teacher_of_a_resumed_run_is_not_the_student():
    student = nn.Linear(2, 1)
    runner = SimpleNamespace(model=student, iter=0, epoch=0, max_iters=9)
    hook = MeanTeacherHook()
    hook.before_run(runner)
    with torch.no_grad():
        student.weight.fill_(2.0)
    hook.before_train(runner)
    assert hook.teacher.weight.tolist() == [[2.0, 2.0]]
    hook.after_train_iter(runner, 0)
    with torch.no_grad():
        student.weight.fill_(5.0)
    hook.before_train(runner)
    assert hook.teacher.weight.tolist() == [[2.0, 2.0]]


@pytest.mark.parametrize('momentum', [0, 1, -0.1, 1.5])
def test_bad_momentum(momentum):
    with pytest.raises(ValueError, match=rf'momentum must lie in \(0, 1\), got {momentum}'):
        MeanTeacherHook(momentum=momentum)
