"""A signal ends a training, which goes on later as if it had not been ended."""

import copy
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest

from glc.core.labelers import JaccardDBSCAN
from glc.engine.hooks import signal_hook
from glc.engine.hooks.signal_hook import SIGNALS, SignalHook
from glc.engine.runner import _how_to_go_on
from glc.evaluation import ReIDMetric
from glc.registry import HOOKS
from tests.runs import ROOT, assert_same, state, tiny_config, train

RUNNER = SimpleNamespace(iter=0, optim_wrapper=None, hooks=[])


@HOOKS.register_module()
class KillingHook(signal_hook.Hook):
    """Sends a signal to this process after an iteration, on one rank."""

    def __init__(self, iteration: int, number: int = signal.SIGTERM, rank: int = 0) -> None:
        self.at, self.number, self.rank = iteration, number, rank

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Send it."""
        if runner.iter + 1 == self.at and runner.rank == self.rank:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize('number', SIGNALS)
def test_one_process_stops_at_once_with_the_status_of_a_shell(number):
    before = signal.getsignal(number)
    after = []

    def work():
        with SignalHook().listening():
            os.kill(os.getpid(), number)
            time.sleep(5)
            after.append('went on')

    with pytest.raises(SystemExit) as stop:
        work()
    assert stop.value.code == 128 + number
    assert not after
    assert signal.getsignal(number) == before


def test_what_must_not_be_interrupted_is_finished():
    hook, done = SignalHook(), []

    def work():
        with hook.listening():
            with hook.postponed():
                with hook.postponed():
                    os.kill(os.getpid(), signal.SIGTERM)
                    done.append('written')
                done.append('pointed to')
            done.append('went on')

    with pytest.raises(SystemExit, match='143'):
        work()
    assert done == ['written', 'pointed to']


def test_a_swallowed_stop_comes_again():
    hook = SignalHook()
    with hook.listening():
        with suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit, match='130'):
            hook.after_train_iter(RUNNER, 0)
    SignalHook().after_train_iter(RUNNER, 0)


@pytest.mark.parametrize('stage', ['after_train_iter', 'after_val_epoch'])
def test_several_processes_stop_together(monkeypatch, stage):
    """One that has received a signal goes on until all know of it; one that has received none stops too."""
    monkeypatch.setattr(signal_hook, 'is_distributed', lambda: True)
    others = [0]
    monkeypatch.setattr(signal_hook.dist, 'all_reduce', lambda own, op, group: own.clamp_(min=others[0]))
    first = SignalHook()
    with first.listening():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        with pytest.raises(SystemExit, match=str(128 + signal.SIGUSR1)):
            getattr(first, stage)(RUNNER, 0)
    second = SignalHook()
    getattr(second, stage)(RUNNER, 0)
    others[0] = int(signal.SIGTERM)
    with pytest.raises(SystemExit, match='143'):
        getattr(second, stage)(RUNNER, 0)


def test_a_second_signal_ends_at_once_and_a_repeated_one_does_not(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(signal_hook, 'time', SimpleNamespace(monotonic=lambda: clock[0]))
    ended = []
    monkeypatch.setattr(os, '_exit', ended.append)

    def work(hook):
        with hook.listening(), hook.postponed():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            assert not ended
            clock[0] += 2
            os.kill(os.getpid(), signal.SIGINT)
            assert ended == [130]

    with pytest.raises(SystemExit, match='143'):
        work(SignalHook())


@pytest.mark.parametrize(
    ('number', 'status'), [(signal.SIGINT, 0), (signal.SIGUSR1, 0), (signal.SIGTERM, 143)]
)
def test_a_forked_worker_leaves_the_stop_to_its_process(number, status):
    """A loader's worker gets the signals of the terminal too; a pool ends its workers by SIGTERM."""
    hook = SignalHook()
    with hook.listening():
        worker = os.fork()
        if not worker:
            os.kill(os.getpid(), number)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == status


def test_other_threads_leave_the_signals_alone():
    before, inside = signal.getsignal(signal.SIGTERM), []

    def listen():
        with SignalHook().listening():
            inside.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert inside == [before]


@pytest.mark.parametrize(
    ('words', 'command'),
    [
        (['tools/train.py', 'a.py'], 'python tools/train.py a.py --resume'),
        (['tools/train.py', 'a.py', '--resume'], 'python tools/train.py a.py --resume'),
        (['tools/train.py', '--resume=b.pth', 'a b.py'], "python tools/train.py 'a b.py' --resume"),
        (['train.py', '--resume', 'b.pth', 'a.py', '--amp'], 'python train.py a.py --amp --resume'),
        (['train.py', 'a.py', '--resume', '--amp'], 'python train.py a.py --amp --resume'),
        (['/env/bin/glc-train', 'glc/a', '--resume'], 'with: glc-train glc/a --resume'),
        (['tools/train.py', 'a.py', '--launcher', 'pytorch'], 'with the same command and --resume'),
        (['notebook'], 'by resume=True'),
    ],
)
def test_the_command_to_go_on_is_told(tmp_path, monkeypatch, words, command):
    monkeypatch.setattr(sys, 'argv', words)
    assert 'no checkpoint yet' in _how_to_go_on(tmp_path)
    (tmp_path / 'last_checkpoint').write_text('epoch_3.pth')
    told = _how_to_go_on(tmp_path)
    assert f"'{tmp_path}/epoch_3.pth'" in told
    assert told.endswith(command)


def terminated(*args, **kwargs):
    """Stands for a stage of a run, in which the signal comes."""
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError('the stage goes on')


# Where the signal comes, and what the log says.
STAGES = {
    'label': ((JaccardDBSCAN, '__call__', terminated), 'epoch 1: stopped; .* has no checkpoint yet'),
    'train': (
        (SignalHook, 'before_train_iter', KillingHook(3).after_train_iter),
        'epoch 2: stopped; it goes on from .*/within_epoch_2.pth',
    ),
    'evaluate': (
        (ReIDMetric, 'compute_metrics', terminated),
        'epoch 2: stopped; it goes on from .*/epoch_1.pth',
    ),
}


@pytest.fixture(scope='module')
def whole(images, tmp_path_factory):
    """The config of a run that was not stopped, and its state at the end."""
    folder = tmp_path_factory.mktemp('whole')
    cfg = tiny_config(images, folder, train_cfg__max_epochs=2, train_cfg__val_interval=1)
    return cfg, state(train(cfg))


@pytest.mark.slow
@pytest.mark.parametrize('stage', STAGES)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(whole, tmp_path, monkeypatch, stage):
    cfg = copy.deepcopy(whole[0])
    cfg.work_dir = str(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*STAGES[stage][0])
        with pytest.raises(SystemExit, match='143'):
            train(cfg)
    (text,) = (path.read_text() for path in tmp_path.glob('*/*.log'))
    assert re.search(f'SIGTERM in {STAGES[stage][1]}', text)
    cfg.resume = 'auto'
    assert_same(state(train(cfg)), whole[1])


@pytest.mark.slow
@pytest.mark.distributed
def test_two_processes_end_by_a_signal_to_one_and_are_started_again(images, tmp_path, warm):
    """By torchrun, which starts them once more; they go on without ``--resume``."""
    cfg = tiny_config(images, tmp_path / 'run', train_cfg__max_epochs=2)
    cfg.custom_imports = dict(imports=['tests.runs', 'tests.test_engine.test_hooks.test_signal'])
    cfg.custom_hooks = [dict(type='KillingHook', iteration=3, rank=1)]
    cfg.dump(tmp_path / 'config.py')
    command = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        '--standalone',
        '--nproc_per_node=2',
        '--max-restarts=1',
        '--no-python',
        str(warm),
        'tools/train.py',
    ]
    command += [str(tmp_path / 'config.py'), '--work-dir', str(tmp_path / 'run'), '--launcher', 'pytorch']
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200, check=False
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert f"SIGTERM in epoch 2: stopped; it goes on from '{tmp_path}/run/within_epoch_2.pth'" in output
    assert 'exitcode: 143' in output
    assert f'resumed epoch: 1, iter: 3, from {tmp_path}/run/within_epoch_2.pth' in output
    assert not list(tmp_path.glob('run/within*'))
