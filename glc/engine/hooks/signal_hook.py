"""Ending a training on a signal, so that it can be resumed."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import is_distributed
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.registry import HOOKS

from .checkpoint_hook import CheckpointHook

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class StoppedBySignalError(SystemExit):
    """The end of a process by a signal: its exit status is 128 + the signal, as in a shell."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name


@HOOKS.register_module()
class SignalHook(Hook):
    """Hook that ends a training on SIGTERM, SIGINT (Ctrl-C) or SIGUSR1 (Slurm's before it takes the machine away).

    While an epoch is trained, the run is saved after the iteration (:meth:`CheckpointHook.save_within_epoch`), and goes
    on from there. Elsewhere its newest checkpoint is on the disk already, so one process stops at once, or when the
    checkpoint is complete that it is writing. Several stop together, after the iteration or evaluation that they are
    in. A second signal ends the process at once.

    The processes agree on a checkpoint that is due within an epoch in the same way.

    :class:`~glc.engine.ReIDRunner` has this hook by itself.
    """

    priority = 'LOWEST'

    def __init__(self) -> None:
        self._received = 0
        self._postponed = 0
        self._group: Any = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Answer to the signals within this context; Python allows it in the main thread only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        process, first = os.getpid(), 0.0
        before = {number: signal.getsignal(number) for number in SIGNALS}

        def receive(number: int, frame: FrameType | None) -> None:
            nonlocal first
            if os.getpid() != process:  # a worker, which has this handler from the fork
                if number == signal.SIGTERM:
                    os._exit(128 + number)
                return
            if self._received and time.monotonic() - first > 1:  # launchers repeat a signal of the terminal
                os._exit(128 + number)
            first = first or time.monotonic()
            self._received = self._received or number
            if not is_distributed() and not self._postponed:
                raise StoppedBySignalError(number)

        for number in SIGNALS:
            signal.signal(number, receive)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Do something that a signal does not interrupt; the process ends after the outermost of these contexts."""
        self._postponed += 1
        try:
            yield
        finally:
            self._postponed -= 1
        if not is_distributed() and not self._postponed:
            self._stop(self._received)

    def before_train(self, runner: Runner) -> None:
        """Make a group in which the processes agree without waiting for a GPU."""
        if is_distributed() and dist.get_backend() != 'gloo':
            self._group = dist.new_group(backend='gloo')

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Save if a checkpoint is due; save and stop if any process has received a signal."""
        if (runner.iter + 1) % getattr(runner.optim_wrapper, '_accumulative_counts', 1):
            return  # gradients that are not used yet are in no checkpoint
        savers = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        due = any(hook.due_within_epoch(runner, batch_idx) for hook in savers)
        received, wanted = self._agree(self._received, due)
        if received or wanted:
            for hook in savers:
                hook.save_within_epoch(runner, batch_idx)
        if received:
            self._agree()  # the first process has written: a launcher ends it when another one has ended
            self._stop(received)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Stop if any process has received a signal."""
        self._stop(*self._agree(self._received))

    def _agree(self, *numbers: int) -> list[int]:
        """Return the largest numbers of all processes."""
        largest = torch.tensor(numbers, dtype=torch.int64)
        if is_distributed():
            dist.all_reduce(largest, dist.ReduceOp.MAX, self._group)
        found: list[int] = largest.tolist()
        return found

    def _stop(self, number: int) -> None:
        if number:
            raise StoppedBySignalError(number)
