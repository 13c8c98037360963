"""The processes of a distributed run end together."""

import atexit
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch.distributed as dist
from torch.distributed.elastic.multiprocessing.errors import get_error_handler

__all__ = ['ProcessWatch', 'limited_start']


@contextmanager
def limited_start(seconds: float | None) -> Iterator[None]:
    """End this process if the others do not come: until they have met, nothing tells it that one of them has died.

    Args:
        seconds: Time for what is done in this context; None is no limit.
    """

    def end() -> None:
        sys.stderr.write(
            f'[rank{os.environ.get("RANK", "?")}]: ends because the other processes have not come within {seconds:g} '
            'seconds (env_cfg.start_timeout)\n'
        )
        sys.stderr.flush()
        os._exit(1)

    timer = threading.Timer(threading.TIMEOUT_MAX if seconds is None else seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class ProcessWatch:
    """Thread that ends its process when the run cannot go on.

    In a collective operation a process waits for the others, also for one that has failed. So every process of a run
    has a watch, which looks once a second. It ends its process, with exit code 1, if

    - another process has failed. That one prints its traceback; the others print where they were.
    - the launcher has gone (``launched``), so nobody would stop the process any more.
    - all processes wait for each other: for ``stall_timeout`` seconds they and their children have used less than 0.5 %
      of a CPU core each. This needs Linux, and all processes on one machine. Where waiting for a GPU keeps a core busy,
      a hang ends with the timeout of the process group.

    Worker processes of data loaders end with their process. After the normal end of a process its watch stops.

    Args:
        launched: Whether the parent process is the launcher.
        stall_timeout: Seconds without any work that end the run; None never does.

    Raises:
        KeyError: If ``MASTER_ADDR`` or ``MASTER_PORT`` is not in the environment.
        ValueError: If there is no process group, or if ``stall_timeout`` is not positive.
    """

    def __init__(self, launched: bool = True, stall_timeout: float | None = 90) -> None:
        self._rank, self._size = dist.get_rank(), dist.get_world_size()
        # A connection of its own: the main thread may hold another one while it waits.
        address = os.environ['MASTER_ADDR'], int(os.environ['MASTER_PORT'])
        store = dist.TCPStore(  # type: ignore[attr-defined]  # torch has no types for its stores
            *address, timeout=timedelta(seconds=60), wait_for_workers=False
        )
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        self._store: Any = dist.PrefixStore(f'glc/{attempt}', store)  # type: ignore[attr-defined]
        self._parent = os.getppid() if launched else None
        self._stall = _Stall(self._pids(self._store), stall_timeout) if stall_timeout else None
        self._thread = threading.Thread(target=self._look, name='process watch', daemon=True)
        self._done = threading.Event()
        self._hook = sys.excepthook

    def start(self) -> None:
        """Begin to watch, and take over uncaught exceptions."""
        sys.excepthook = self._fail
        atexit.register(self._stop)
        self._thread.start()

    def _look(self) -> None:
        """Look once a second, until the process ends."""
        while not self._done.wait(1):
            if self._parent is not None and os.getppid() != self._parent:
                self._end('the launcher has gone')
            failure = self._failure()
            if failure is None and self._stall is not None and self._stall.found():
                failure = self._failure(
                    f'no process has worked for {self._stall.seconds:g} seconds (env_cfg.stall_timeout), they wait for '
                    'each other'
                )
            if failure is not None:
                self._end(failure)

    def _pids(self, store: Any) -> list[int]:
        """Return the process ids of the run, where all are of this machine."""
        namespace = Path('/proc/self/ns/pid')
        place = f'{os.uname().nodename} {os.readlink(namespace)}' if namespace.exists() else f'{self._rank}'
        store.set(f'process/{self._rank}', f'{place} {os.getpid()}')
        names = [store.get(f'process/{rank}').decode().rsplit(' ', 1) for rank in range(self._size)]
        return [int(pid) for _, pid in names] if {other for other, _ in names} == {place} else []

    def _failure(self, mine: str = '') -> str | None:
        """Return the first failure of the run, ``mine`` if there was none before; None where nothing is known."""
        try:
            if self._store is None or not (mine or self._store.check(['failure'])):
                return None
            failure: str = self._store.compare_set('failure', '', mine).decode()
            return failure
        except RuntimeError:  # the process that keeps the store has ended
            self._store = None
            return None

    def _fail(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        """End the run with an uncaught exception of this process."""
        self._done.set()
        last_line = traceback.format_exception_only(kind, error)[-1].strip()
        mine = f'process {self._rank} of {self._size} failed: {last_line}'
        first = self._failure(mine)
        if first in (mine, None):
            self._hook(kind, error, where)
            try:
                raise error.with_traceback(where)
            except BaseException:  # torchrun repeats the traceback of the exception that is being handled
                get_error_handler().record_exception(error)
            self._exit(2)
        self._exit(4, f'[rank{self._rank}]: {last_line}\n[rank{self._rank}]: ends because {first}\n')

    def _end(self, reason: str) -> None:
        """End the process, and say where its main thread was."""
        stack = traceback.format_stack(sys._current_frames()[threading.main_thread().ident or 0])
        self._exit(4, f'[rank{self._rank}]: ends because {reason}. It was here:\n' + ''.join(stack))

    def _exit(self, seconds: float, message: str = '') -> None:
        """End the process; the one that failed does so first, after the others have said where they were."""
        sys.stderr.write(message)
        sys.stderr.flush()
        time.sleep(seconds)
        for child in multiprocessing.active_children():  # workers of data loaders
            child.kill()
        os._exit(1)

    def _stop(self) -> None:
        self._done.set()
        self._thread.join()


class _Stall:
    """Whether processes, and their children, use almost no CPU.

    Looks are counted, not the clock: a run that was suspended is not stalled when it goes on. To look is no work: every
    process has such a watch, and a look at many threads takes milliseconds. So this thread's time is taken off for
    each of them.
    """

    def __init__(self, pids: list[int], seconds: float) -> None:
        if seconds <= 0:
            raise ValueError(f'env_cfg.stall_timeout must be positive or None, got {seconds}')
        self.seconds = seconds
        self._pids = pids
        self._interval = max(1, int(seconds / 10))  # a look at many threads is no work for every second
        self._second = os.sysconf('SC_CLK_TCK')
        self._limit = 0.005 * seconds * len(pids) * self._second
        self._ticks, self._looks = 0.0, 0

    def found(self) -> bool:
        """Return whether there was no work for the given seconds; to be called once a second."""
        self._looks += 1
        if self._looks % self._interval or not self._pids:
            return False
        ticks = sum(map(_cpu_ticks, self._pids)) - len(self._pids) * time.thread_time() * self._second
        if abs(ticks - self._ticks) > self._limit:
            self._ticks, self._looks = ticks, 0
        return self._looks >= self.seconds


def _cpu_ticks(pid: int) -> int:
    """Return the CPU time of a process and its children, in clock ticks; 0 where it has ended."""
    try:
        ticks = sum(map(int, Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[11:15]))
        children = ' '.join(file.read_text() for file in Path(f'/proc/{pid}/task').glob('*/children'))
    except OSError:
        return 0
    return ticks + sum(_cpu_ticks(int(child)) for child in children.split())
