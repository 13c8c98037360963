"""Processes of a run end together, with the reason."""

import os
import signal
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from glc.apis import build
from glc.engine import processes
from tests.runs import ROOT, free_port, tiny_config

# The first process is the launcher: it forks the others, and prints their exit codes.
SCRIPT = """
import os, sys, time
import torch.distributed as dist
from torch.utils.data import DataLoader
from glc.engine.processes import ProcessWatch

def hang():
    time.sleep(1000)

case, size = sys.argv[1], int(sys.argv[2])
for rank in range(size):
    if not os.fork():
        break
else:
    for _ in range(size):
        print('code', os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    os._exit(0)
dist.init_process_group('gloo', rank=rank, world_size=size)
ProcessWatch(stall_timeout=3 if case == 'hang' else None).start()
loader = iter(DataLoader(range(1000), num_workers=1))
next(loader)
os.write(1, b'ready\\n')  # in one piece, beside those of the others
if rank == 1 and case == 'error':
    raise ZeroDivisionError('only here')
if case == 'launcher' or (rank == 1 and case == 'hang'):
    hang()
dist.barrier()
"""


def start(case, size, port):
    """Start a launcher and its processes, as a group of their own."""
    return subprocess.Popen(
        [sys.executable, '-c', SCRIPT, case, str(size)],
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'MASTER_ADDR': '127.0.0.1',
            'MASTER_PORT': str(port),
            'CUDA_VISIBLE_DEVICES': '',
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def left_over(group, seconds=15):
    """Processes of a group that have not ended in time, worker processes included."""
    for _ in range(10 * seconds):
        left = []
        for file in Path('/proc').glob('[0-9]*/stat'):
            with suppress(OSError):
                state, _, of_group, *_ = file.read_text().rpartition(')')[2].split()
                left += [state] if of_group == str(group) and state != 'Z' else []
        if not left:
            return []
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return left


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize(
    ('case', 'size', 'reasons'),
    [
        ('error', 3, [f'[rank{r}]: ends because process 1 of 3 failed: ZeroDivision' for r in (0, 2)]),
        ('hang', 2, ['[rank0]: ends because no process has worked for 3 s', 'in hang']),
    ],
)
def test_all_processes_end_with_the_reason(case, size, reasons):
    running = start(case, size, free_port())
    out, errors = running.communicate(timeout=300)
    assert out.count('ready') == size
    assert out.count('code 1\n') == size
    for reason in reasons:
        assert reason in errors
    assert errors.count('[rank1]: ZeroDivisionError: only here') == (case == 'error')
    assert left_over(running.pid) == []


@pytest.mark.slow
@pytest.mark.distributed
def test_no_process_outlives_the_launcher():
    running = start('launcher', 2, free_port())
    assert [running.stdout.readline() for _ in range(2)] == ['ready\n', 'ready\n']
    running.kill()
    assert left_over(running.pid) == []
    assert running.stderr.read().count('ends because the launcher has gone') == 2


@pytest.mark.slow
@pytest.mark.distributed
def test_a_run_without_failure_ends_as_ever():
    running = start('none', 2, free_port())
    out, errors = running.communicate(timeout=300)
    assert out.count('code 0\n') == 2
    assert 'ends because' not in errors
    assert left_over(running.pid) == []


@pytest.mark.slow
def test_cpu_time_of_a_process_and_its_children():
    before = processes._cpu_ticks(os.getpid())
    assert before > 0
    command = f'import subprocess, sys; subprocess.run([sys.executable, "-c", {"while True: pass"!r}])'
    child = subprocess.Popen([sys.executable, '-c', command], start_new_session=True)
    deadline = time.time() + 60
    while processes._cpu_ticks(child.pid) < 50:  # the grandchild works
        assert time.time() < deadline
        time.sleep(0.05)
    assert processes._cpu_ticks(os.getpid()) - before >= 50
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert processes._cpu_ticks(child.pid) == 0


def test_only_processes_without_work_stall(monkeypatch):
    second = os.sysconf('SC_CLK_TCK')

    def looks(seconds, work_per_look, pids=(1, 2), count=200):
        """Numbers of the looks that find a stall."""
        used = [1000.0]
        monkeypatch.setattr(processes, '_cpu_ticks', lambda pid: used[0])
        stall = processes._Stall(list(pids), seconds)
        found = []
        for look in range(count):
            used[0] += work_per_look * second
            found += [look] if stall.found() else []
        return found

    assert looks(100, 0.02) == []
    assert looks(100, 0.001)[0] == pytest.approx(110, abs=10)
    assert looks(2, 0)[0] == 2
    assert looks(2, 0, pids=()) == []
    with pytest.raises(ValueError, match=r'env_cfg\.stall_timeout must be positive or None, got 0'):
        processes._Stall([1], 0)


def test_to_look_is_no_work(monkeypatch):
    """Four processes whose watches take 2 % of a core each, and that do nothing else."""
    second = os.sysconf('SC_CLK_TCK')

    def ticks(pid):
        begin = time.thread_time()
        while time.thread_time() - begin < 0.005:
            pass
        return time.thread_time() * second

    monkeypatch.setattr(processes, '_cpu_ticks', ticks)
    stall = processes._Stall([1, 2, 3, 4], 2)
    assert True in [stall.found() for _ in range(4)]


def test_a_process_that_waits_for_a_dead_one_at_the_start_ends(capfd):
    child = os.fork()
    if not child:
        with processes.limited_start(0.2):
            torch.distributed.TCPStore('127.0.0.1', free_port(), 2, is_master=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    assert 'ends because the other processes have not come within 0.2 seconds' in capfd.readouterr().err
    with processes.limited_start(None):
        pass


@pytest.mark.parametrize('timeout', [None, 5400])
def test_timeouts_of_the_config_hold_on_a_cpu(tmp_path, monkeypatch, timeout):
    started = {}
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        monkeypatch.setenv(name, '1')
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(
        torch.distributed,
        'init_process_group',
        lambda backend, **given: started.update(given, backend=backend),
    )
    monkeypatch.setattr(
        build, 'ProcessWatch', lambda **given: SimpleNamespace(start=lambda: started.update(given))
    )
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.env_cfg.update(start_timeout=10, stall_timeout=20)
    monkeypatch.setattr(build, 'limited_start', lambda seconds: nullcontext(started.update(start=seconds)))
    if timeout is None:
        del cfg.env_cfg.dist_cfg['timeout']
    else:
        cfg.env_cfg.dist_cfg.timeout = timeout
    build.prepare_config(cfg, launcher='pytorch')
    given = started.pop('timeout')
    assert (given and given.total_seconds()) == timeout
    assert started == {'backend': 'gloo', 'launched': True, 'start': 10, 'stall_timeout': 20}
