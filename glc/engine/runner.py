"""mmengine's runner, with checkpoints that stay whole, and starting from published ones too."""

import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import BaseLoop, Runner
from torch import nn

from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.datasets.checks import warn_of_overlap
from glc.engine.hooks.checkpoint_hook import CheckpointHook
from glc.engine.hooks.signal_hook import SignalHook, StoppedBySignalError
from glc.engine.unwrap import unwrap
from glc.engine.work_dir import TEMPLATES, locked, pointed_to, starting_point
from glc.utils.files import atomic_file

__all__ = ['ReIDRunner']


class ReIDRunner(Runner):
    """Runner whose ``load_from`` takes published models too, and never loads a part of one silently.

    A checkpoint that a run has written, with the state of its training, is left to mmengine.

    A training has its work dir for itself, overwrites no other run there, and can be resumed whatever ends it. See
    docs/reliability.md.
    """

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the evaluation loop as mmengine does; during a training, warn of files that are in both sets."""
        built = super().build_val_loop(loop)
        if isinstance(self._train_loop, BaseLoop):
            warn_of_overlap(self._train_loop.dataloader.dataset, built.dataloader.dataset)
        return built

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of the config, and the one that answers to signals."""
        super().register_hooks(default_hooks, custom_hooks)
        self._signals = SignalHook()
        self.register_hook(self._signals)

    def dump_config(self) -> None:
        """Write nothing yet: the work dir may have the config of a run, which only a training replaces."""

    def train(self) -> nn.Module:
        """Train as mmengine does, alone in the work dir.

        Returns:
            The model.

        Raises:
            RuntimeError: If another training uses the work dir, if it has checkpoints that would be overwritten, or if
                none of them can be read.
            SystemExit: After a signal.
        """
        hooks = [hook for hook in self.hooks if isinstance(hook, CheckpointHook)]
        folder = hooks[0].folder(self) if hooks else Path(self.work_dir)
        templates = [*(hook.filename_tmpl for hook in hooks), *TEMPLATES]
        with ExitStack() as stack:

            def begin() -> tuple[bool, str | None]:
                stack.enter_context(locked(self.work_dir))
                start = starting_point(folder, self._resume, self._load_from, templates)
                super(ReIDRunner, self).dump_config()
                return start

            self._resume, self._load_from = _on_first_process(begin)
            stack.enter_context(self._signals.listening())
            try:
                return super().train()
            except StoppedBySignalError as error:
                self.logger.warning(f'{error.name} in epoch {self.epoch + 1}: {_how_to_go_on(folder)}')
                raise

    def uninterrupted(self) -> AbstractContextManager[None]:
        """Return a context in which no signal ends the process; it ends after it."""
        return self._signals.postponed()

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint as mmengine does: it is complete or not there, and no signal interrupts it."""
        if not is_main_process():
            return
        with self.uninterrupted(), atomic_file(Path(out_dir, filename)) as path:
            super().save_checkpoint(str(path.parent), path.name, *args, **kwargs)

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Load the checkpoint of a run as mmengine does, any other file with :func:`load_model_checkpoint`.

        Args:
            filename: File, or address that mmengine knows.
            map_location: Device of the tensors, for checkpoints of a run.
            strict: Whether every tensor must match, for checkpoints of a run.
            revise_keys: Patterns and replacements of keys, for checkpoints of a run; ``module.`` is always left out.

        Returns:
            The content of the file.

        Raises:
            RuntimeError: If a run is to be resumed from a file that holds weights only, or if the file does not fit.
        """
        content = load_checkpoint_file(filename) if Path(filename).is_file() else None
        if content is None or (isinstance(content, dict) and 'message_hub' in content):
            return super().load_checkpoint(
                filename, map_location, strict, revise_keys or [(r'^module\.', '')]
            )
        if self._resume:
            raise RuntimeError(
                f"'{filename}' holds weights, but no state of a training that could be resumed: start a new one from "
                f'them with --cfg-options load_from={filename}'
            )
        load_model_checkpoint(unwrap(self.model), filename)
        self._has_loaded = True
        return content


def _on_first_process(function: Callable[[], Any]) -> Any:
    """Return what a function returns on the first process, or raise its error, on all of them."""
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function()
        except (OSError, RuntimeError) as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def _how_to_go_on(folder: Path) -> str:
    """Tell what a stopped training goes on from, and the command."""
    name = pointed_to(folder)
    if name is None:
        return f"stopped; '{folder}' has no checkpoint yet, so the same command begins again"
    words = [
        word
        for before, word in zip(['', *sys.argv], sys.argv, strict=False)
        if word.partition('=')[0] != '--resume' and (before != '--resume' or word.startswith('-'))
    ]
    command = f' with: {shlex.join(["python", *words, "--resume"])}' if 'train.py' in words[0] else ''
    return f"stopped; it goes on from '{folder / name}', as if it had not been,{command or ' by resume=True'}"
