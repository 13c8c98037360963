"""A training by epochs that can go on within an epoch."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from itertools import chain, islice
from numbers import Integral
from typing import Any

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_rank
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.data import DataLoader, Sampler

from glc.datasets import BaseReIDDataset, Draw
from glc.engine.unwrap import unwrap
from glc.registry import LOOPS

__all__ = ['EpochLoop', 'LeftOutError', 'batches_done', 'running_statistics', 'state_within_epoch']


class LeftOutError(Exception):
    """What a hook raises in ``after_train_step`` where an iteration is to be left out: it did not happen."""


@LOOPS.register_module()
class EpochLoop(EpochBasedTrainLoop):
    """mmengine's loop of epochs, which may begin within an epoch, and may leave out an iteration.

    A run that goes on within an epoch does not load the batches again that are done. The sampler draws its whole
    stream, and the augmentation of an image follows from its draw alone, so the other batches are the same. A plain
    index, as samplers of other packages give them, becomes a draw whose seed follows from the run's seed, the epoch,
    the process and the place in the stream.

    Hooks may have a method ``after_train_step(runner, data_batch, outputs)``. It is called before ``after_train_iter``,
    which is not called where it raises :class:`LeftOutError`.

    Args:
        *args: As mmengine's ``EpochBasedTrainLoop``.
        **kwargs: As mmengine's ``EpochBasedTrainLoop``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._begun: Mapping[str, Any] = {}

    def resume(self, epoch: int, iteration: int, begun: Mapping[str, Any] | None = None) -> None:
        """Go on from here.

        Args:
            epoch: Epochs that are done.
            iteration: Iterations that are done.
            begun: What :func:`state_within_epoch` gave, of the epoch that has begun.
        """
        self._epoch, self._iter, self._begun = epoch, iteration, begun or {}

    @property
    def batches_done(self) -> int:
        """Batches of this epoch that were done before a resume; 0 in all other epochs."""
        return int(self._begun.get('batches', 0))

    def run_epoch(self) -> None:
        """Train one epoch, or the rest of it. A signal ends it between iterations only."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        with getattr(self.runner, 'uninterrupted', nullcontext)():
            with _from_batch(self.dataloader, self.batches_done, (self.runner.seed, self.epoch, get_rank())):
                batches: Iterator[Any] = iter(self.dataloader)
                if self._begun:
                    # As in the uninterrupted run, loader and sampler draw from the random state of the epoch's begin.
                    batches = chain(list(islice(batches, 1)), batches)
                    _restore(self.runner, self._begun['processes'])
                for index, batch in enumerate(batches, self.batches_done):
                    self.run_iter(index, batch)
            self.runner.call_hook('after_train_epoch')
        self._begun = {}
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Any) -> None:
        """Train on one batch."""
        self.runner.call_hook('before_train_iter', batch_idx=idx, data_batch=data_batch)
        outputs = self.runner.model.train_step(data_batch, optim_wrapper=self.runner.optim_wrapper)
        try:
            self.runner.call_hook('after_train_step', data_batch=data_batch, outputs=outputs)
        except LeftOutError:
            pass
        else:
            self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs=outputs)
        self._iter += 1


def batches_done(runner: Runner) -> int:
    """Return how many batches of this epoch were done before a resume; 0 in all other epochs."""
    return getattr(runner.train_loop, 'batches_done', 0)


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Return means and variances of the BatchNorm layers of a network; processes differ in them within an epoch."""
    layers = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    found = [stat for layer in layers for stat in (layer.running_mean, layer.running_var)]
    return [stat for stat in found if stat is not None]


def state_within_epoch(runner: Runner, batches: int) -> dict[str, Any]:
    """Return what a checkpoint within an epoch needs beside that of its end; to be called on all processes.

    Args:
        runner: The runner, after an iteration.
        batches: Batches of this epoch that are done.

    Returns:
        ``batches``, and for every process (``processes``) its random state and running statistics.
    """
    mine: dict[str, Any] = {
        'random': torch.get_rng_state(),
        'statistics': [value.cpu() for value in _all_statistics(runner)],
    }
    if torch.cuda.is_available():
        mine['random_of_gpu'] = torch.cuda.get_rng_state()
    return {'batches': batches, 'processes': all_gather_object(mine)}


def _restore(runner: Runner, processes: list[dict[str, Any]]) -> None:
    """Restore what differs between the processes."""
    if len(processes) == runner.world_size:
        mine = processes[get_rank()]
        statistics = mine['statistics']
        torch.set_rng_state(mine['random'])
        if 'random_of_gpu' in mine and torch.cuda.is_available():
            torch.cuda.set_rng_state(mine['random_of_gpu'])
    else:
        print_log(
            f'this epoch was begun by {len(processes)} processes: its rest, by {runner.world_size}, has other dropout '
            'masks, and the mean of their running statistics',
            'current',
            logging.WARNING,
        )
        parts = zip(*(process['statistics'] for process in processes), strict=True)
        statistics = [torch.stack(values).mean(0) for values in parts]
    for value, stored in zip(_all_statistics(runner), statistics, strict=True):
        value.copy_(stored)


def _all_statistics(runner: Runner) -> list[Tensor]:
    teachers = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
    networks = [unwrap(runner.model), *teachers]
    return [value for network in networks for value in running_statistics(network)]


class _Stream(Sampler):
    """What a sampler draws after its first items, plain indices as draws; the length is that of the whole."""

    def __init__(self, sampler: Sampler, first: int, seed: tuple[int, ...]) -> None:
        self.sampler = sampler
        self.first = first
        self.seed = seed

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        return islice(self._draws(), self.first, None)

    def _draws(self) -> Iterator[Any]:
        rng = np.random.default_rng(self.seed)
        for item in self.sampler:
            seed = int(rng.integers(2**32))
            yield Draw(int(item), seed) if isinstance(item, Integral) else item


class _Rest(_Stream):
    """The same for data sets of other packages, which know no draws."""

    def _draws(self) -> Iterator[Any]:
        return iter(self.sampler)


@contextmanager
def _from_batch(loader: DataLoader, batch: int, seed: tuple[int, ...]) -> Iterator[None]:
    """Let a loader begin at a batch; the ones before it are not loaded."""
    batches: Any = loader.batch_sampler
    sampler = batches.sampler
    stream = _Stream if isinstance(loader.dataset, BaseReIDDataset) else _Rest
    batches.sampler = stream(sampler, batch * batches.batch_size, seed)
    try:
        yield
    finally:
        batches.sampler = sampler
