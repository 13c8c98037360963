"""Ending in time, and going on."""

import time
from types import SimpleNamespace

import pytest

from glc.apis import build_runner, prepare_config
from glc.engine import TimeBudgetHook
from glc.engine.hooks import time_budget_hook
from tests.runs import records, tiny_config


def epochs_until_stop(monkeypatch, lengths: list[float], deadline: float | None, max_epochs: int = 99) -> int:
    """How many epochs of these lengths run, each with 5 s of evaluation after it; the clock starts at 100."""
    clock, logged = [100.0], []
    monkeypatch.setattr(time_budget_hook, 'time', SimpleNamespace(time=lambda: clock[0]))
    runner = SimpleNamespace(
        epoch=0,
        max_epochs=max_epochs,
        train_loop=SimpleNamespace(stop_training=False),
        visualizer=SimpleNamespace(add_scalars=lambda scalars, step: logged.append((step, scalars))),
        logger=SimpleNamespace(info=lambda line: None),
    )
    hook = TimeBudgetHook(deadline)
    for seconds in lengths:
        hook.before_train_epoch(runner)
        clock[0] += seconds
        hook.after_train_epoch(runner)
        if runner.train_loop.stop_training:
            break
        clock[0] += 5.0
        runner.epoch += 1
    assert logged == [(epoch, {'seconds/epoch': lengths[epoch]}) for epoch in range(len(logged))]
    return len(logged)


@pytest.mark.parametrize(
    ('deadline', 'epochs'),
    [
        (None, 4),
        (1000.0, 4),
        (119.0, 1),  # 110 and one more of 10
        (120.0, 2),  # just in time; it is 117 after the second
        (126.9, 2),  # 117, and one of 10, although the last had 2
        (127.0, 3),  # just in time; after the third it is 126
    ],
)
def test_an_epoch_begins_only_if_one_as_long_as_the_longest_would_end_in_time(monkeypatch, deadline, epochs):
    assert epochs_until_stop(monkeypatch, [10.0, 2.0, 4.0, 3.0], deadline) == epochs


def test_the_last_epoch_does_not_stop(monkeypatch):
    assert epochs_until_stop(monkeypatch, [10.0, 2.0], 0.0, max_epochs=1) == 2


def test_the_first_process_decides_for_all(monkeypatch):
    def from_another(objects: list) -> None:
        objects[0] = True

    monkeypatch.setattr(time_budget_hook, 'broadcast_object_list', from_another)
    assert epochs_until_stop(monkeypatch, [10.0, 2.0], None) == 1


@pytest.mark.slow
def test_training_ends_in_time_and_goes_on(images, tmp_path):
    hook = {'type': 'TimeBudgetHook', 'deadline': time.time()}
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=3, default_hooks__time_budget=hook)
    first = build_runner(prepare_config(cfg))
    first.train()
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')
    cfg.resume, cfg.experiment_name = True, f'{cfg.experiment_name}_resumed'
    cfg.default_hooks.time_budget.deadline = time.time() + 3600
    second = build_runner(cfg)
    second.train()
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_3.pth')
    seconds = [record for run in (first, second) for record in records(run) if 'seconds/epoch' in record]
    assert [record['step'] for record in seconds] == [0, 1, 2]
    assert all(record['seconds/epoch'] > 0 for record in seconds)
