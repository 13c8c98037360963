"""A training has its work dir for itself, and writes checkpoints in one step."""

import errno
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.runner import Runner

from glc.apis import build_runner, prepare_config
from glc.engine import ReIDRunner, SignalHook
from glc.engine.work_dir import locked
from glc.utils.versions import versions
from tests.runs import log, tiny_config


@pytest.fixture
def runner():
    """Enough of a runner to write checkpoints."""
    made = ReIDRunner.__new__(ReIDRunner)
    made._signals = SignalHook()
    return made


def test_a_full_disk_leaves_the_earlier_checkpoint(runner, tmp_path, monkeypatch):
    def save(self, out_dir, filename, **_):
        Path(out_dir, filename).write_text('half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(Runner, 'save_checkpoint', save)
    (tmp_path / 'epoch_1.pth').write_text('whole')
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/epoch_1.pth'"):
        runner.save_checkpoint(str(tmp_path), 'epoch_1.pth', meta={})
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('epoch_1.pth', 'whole')]


def test_a_signal_waits_for_the_checkpoint(runner, tmp_path, monkeypatch):
    def save(self, out_dir, filename):
        os.kill(os.getpid(), signal.SIGTERM)
        Path(out_dir, filename).write_text('whole')

    def work():
        with runner._signals.listening():
            runner.save_checkpoint(tmp_path, 'epoch_1.pth')

    monkeypatch.setattr(Runner, 'save_checkpoint', save)
    with pytest.raises(SystemExit, match='143'):
        work()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [('epoch_1.pth', 'whole')]


def test_a_used_folder_is_refused_before_anything_is_built(images, tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    refused = build_runner(prepare_config(tiny_config(images, tmp_path)))
    with pytest.raises(RuntimeError, match=f"'{tmp_path}' has checkpoints of a run"):
        refused.train()
    assert isinstance(refused._train_loop, dict)
    assert not list(tmp_path.glob('*.py')), 'the config of the run there stays'
    with locked(tmp_path):  # as it is free again
        pass


@pytest.mark.slow
def test_log_begins_with_versions_and_says_which_data_were_found(images, tmp_path):
    runner = build_runner(prepare_config(tiny_config(images, tmp_path)))
    runner.build_dataloader(runner.cfg.train_dataloader)
    runner.build_dataloader(runner.cfg.test_dataloader)
    lines = log(runner).splitlines()
    assert lines[0].endswith(versions())
    for found in (
        'train: 48 images, 8 identities, 2 cameras',
        'query: 8 images, 4 identities, 2 cameras',
        'gallery: 24 images, 4 identities, 2 cameras',
    ):
        assert sum(line.endswith(f' {found}') for line in lines) == 1
    assert sum(line.endswith(f"Market1501 in '{images}'") for line in lines) == 2


@pytest.mark.slow
def test_runs_that_begin_in_one_second_have_logs_of_their_own(images, tmp_path, monkeypatch):
    clock = SimpleNamespace(time=lambda: 1e9, strftime=time.strftime, localtime=time.localtime)
    monkeypatch.setattr('mmengine.runner.runner.time', clock)
    runs = []
    for folder in ('a', 'a', 'b'):
        cfg = tiny_config(images, tmp_path / folder)
        cfg.experiment_name = 'same'
        runs.append(build_runner(prepare_config(cfg)))
    assert len({run.timestamp for run in runs}) == 3
    assert len({id(run.message_hub) for run in runs}) == 3
    assert all(Path(run.log_dir, f'{run.timestamp}.log').is_file() for run in runs)
