"""mmengine's runner, with checkpoints that stay whole, and starting from published ones too."""

import os
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.logging import MMLogger, print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import BaseLoop, Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from glc.checkpoints import load_checkpoint_file, load_model_checkpoint
from glc.datasets import BaseReIDDataset
from glc.datasets.checks import warn_of_overlap
from glc.datasets.collate import stack_images
from glc.engine.console import DETAIL, summarize
from glc.engine.hooks.checkpoint_hook import CheckpointHook
from glc.engine.hooks.run_record_hook import RunRecordHook
from glc.engine.hooks.signal_hook import SignalHook, StoppedBySignalError
from glc.engine.hooks.summary_hook import SummaryHook
from glc.engine.loop import EpochLoop, batches_done
from glc.engine.resume import check_resumable
from glc.engine.schedule import resume_schedulers
from glc.engine.unwrap import unwrap
from glc.engine.work_dir import TEMPLATES, locked, own_stamp, pointed_to, starting_point
from glc.engine.workers import end_workers, ended_with_the_run
from glc.utils.files import atomic_file, full_disk_named
from glc.utils.versions import versions

__all__ = ['ReIDRunner']

_WORKER_OPTIONS = ('multiprocessing_context', 'persistent_workers', 'prefetch_factor', 'timeout')


class ReIDRunner(Runner):
    """Runner whose ``load_from`` takes published models too, and never loads a part of one silently.

    No code in a file is run. A resumed training goes on as if it had not been interrupted, or is refused.

    A training has its work dir for itself, overwrites no other run there, and can be resumed whatever ends it. See
    docs/reliability.md. The log begins with the versions of the software, and says what is found of each data set. The
    console shows a summary of it. See docs/watching.md.
    """

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the processes as mmengine does, and name the run by a time that no other run has."""
        super().setup_env(env_cfg)
        self._timestamp = _on_first_process(lambda: own_stamp(self.work_dir, self._timestamp))

    def build_train_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the training loop as mmengine does.

        One by epochs can begin within an epoch. The images of its data set are cached as ``image_cache`` says.
        """
        if isinstance(loop, dict) and (loop.get('by_epoch') or loop.get('type') == 'EpochBasedTrainLoop'):
            settings = {key: value for key, value in loop.items() if key not in ('by_epoch', 'type')}
            loop = {'type': EpochLoop, **settings}
        built = super().build_train_loop(loop)
        dataset = built.dataloader.dataset
        if isinstance(dataset, BaseReIDDataset):
            dataset.cache_images(self.cfg.get('image_cache', 'auto'))
        return built

    def build_val_loop(self, loop: BaseLoop | dict) -> BaseLoop:
        """Build the evaluation loop as mmengine does; during a training, warn of files that are in both sets."""
        built = super().build_val_loop(loop)
        if isinstance(self._train_loop, BaseLoop):
            warn_of_overlap(self._train_loop.dataloader.dataset, built.dataloader.dataset)
        return built

    def register_hooks(self, default_hooks: dict | None = None, custom_hooks: list | None = None) -> None:
        """Register the hooks of the config, and those that answer to signals, write the summary, and keep a record."""
        super().register_hooks(default_hooks, custom_hooks)
        self._summary = SummaryHook()
        self.register_hook(self._summary)
        self._signals = SignalHook()
        self.register_hook(self._signals)
        self.register_hook(RunRecordHook())

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
        with full_disk_named(self.work_dir), ExitStack() as stack:

            def begin() -> tuple[bool, str | None]:
                stack.enter_context(locked(self.work_dir))
                again = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0') != '0' and pointed_to(folder)
                resume = 'auto' if again else self._resume  # torchrun has started the processes once more
                start = starting_point(folder, resume, self._load_from, templates)
                super(ReIDRunner, self).dump_config()
                # In checkpoints the config is not laid out, which takes longer than to write them.
                object.__setattr__(self.cfg, '_format_python_code', False)
                return start

            self._resume, self._load_from = _on_first_process(begin)
            stack.enter_context(self._signals.listening())
            try:
                return super().train()
            except StoppedBySignalError as error:
                self._summary.close_bar()
                self.logger.warning(
                    f'{error.name} in epoch {min(self.epoch + 1, self.max_epochs)}: {_how_to_go_on(folder)}'
                )
                raise
            finally:
                end_workers()

    def val(self) -> dict:
        """Evaluate as mmengine does."""
        try:
            return super().val()
        finally:
            end_workers()

    def test(self) -> dict:
        """Test as mmengine does."""
        try:
            return super().test()
        finally:
            end_workers()

    def uninterrupted(self) -> AbstractContextManager[None]:
        """Return a context in which no signal ends the process; it ends after it."""
        return self._signals.postponed()

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write a checkpoint as mmengine does: it is complete or not there, and no signal interrupts it."""
        if not is_main_process():
            return
        with self.uninterrupted(), atomic_file(Path(out_dir, filename)) as path:
            super().save_checkpoint(str(path.parent), path.name, *args, **kwargs)

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger as mmengine does, with a summary on its console, and log the versions of the software."""
        logger = super().build_logger(*args, **kwargs)
        summarize(logger)
        if is_main_process():
            logger.info(versions(), extra=DETAIL)
        return logger

    def build_visualizer(self, visualizer: Visualizer | dict | None = None) -> Visualizer:
        """Build the visualizer as mmengine does, without TensorBoard where it is not installed."""
        if isinstance(visualizer, dict) and find_spec('tensorboard') is None:
            backends = visualizer.get('vis_backends') or []
            kept = [backend for backend in backends if backend.get('type') != 'TensorboardVisBackend']
            if len(kept) < len(backends):
                self.logger.info('no curves in TensorBoard, which is not installed: pip install tensorboard')
                visualizer = {**visualizer, 'vis_backends': kept}
        return super().build_visualizer(visualizer)

    def _maybe_compile(self, target: str) -> None:
        """Compile the backbone where the config has ``compile=True`` or options of ``torch.compile``.

        mmengine would compile the whole step, which looks at data samples and is compiled again and again.
        """
        options = self.cfg.get('compile')
        if options and target == 'train_step':
            unwrap(self.model).compile(**({} if options is True else options))

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict, seed: int | None = None, diff_rank_seed: bool = False
    ) -> DataLoader:
        """Build a loader as mmengine does, and log what is found of its data set.

        Without workers (``num_workers=0``), their options do not count.
        """
        if isinstance(dataloader, dict):
            options = {'collate_fn': stack_images, 'pin_memory': torch.cuda.is_available(), **dataloader}
            without = () if options.get('num_workers') else _WORKER_OPTIONS
            dataloader = {key: value for key, value in options.items() if key not in without}
        loader = ended_with_the_run(Runner.build_dataloader(dataloader, seed, diff_rank_seed))
        if loader.generator is None:
            # To start workers takes a number, and those that stay are not started in every epoch: not from the
            # generator of the training, which would go on with other numbers after a resume.
            loader.generator = torch.Generator()
        if isinstance(loader.dataset, BaseReIDDataset):
            for line in loader.dataset.summary():
                print_log(line, logger='current')
        return loader

    def load_checkpoint(
        self,
        filename: str,
        map_location: str | Callable = 'cpu',
        strict: bool = False,
        revise_keys: list | None = None,
    ) -> dict:
        """Load the weights of a file into the model with :func:`load_model_checkpoint`.

        Args:
            filename: Path of the file.
            map_location: Not used; the content is read to the CPU.
            strict: Not used; only a classifier may be missing.
            revise_keys: Patterns and replacements of keys, for checkpoints of a run; ``module.`` is always left out.

        Returns:
            The content of the file.

        Raises:
            FileNotFoundError: If the file does not exist.
            RuntimeError: If the file cannot be read safely or does not fit the model.
        """
        content = load_checkpoint_file(filename)
        layout = 'auto'
        if isinstance(content, dict) and 'message_hub' in content:
            layout = 'glc'
            for pattern, replacement in revise_keys or []:
                content['state_dict'] = {
                    re.sub(pattern, replacement, key): value for key, value in content['state_dict'].items()
                }
            self.call_hook('after_load_checkpoint', checkpoint=content)
        load_model_checkpoint(unwrap(self.model), filename, layout, content=content)
        self._has_loaded = True
        return content

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'default',
    ) -> None:
        """Go on from a checkpoint of this training.

        Args:
            filename: Path of the checkpoint.
            resume_optimizer: Whether to take the state of the optimizer.
            resume_param_scheduler: Whether to go on in the schedule.
            map_location: Not used; the content is read to the CPU.

        Raises:
            FileNotFoundError: If the file does not exist.
            RuntimeError: If the file cannot be read safely, or another training has written it.
        """
        content = load_checkpoint_file(filename)
        loop = self.train_loop
        self.optim_wrapper: OptimWrapper = self.build_optim_wrapper(self.optim_wrapper)
        for note in check_resumable(self, content, filename):
            self.logger.warning(note)
        self.call_hook('after_load_checkpoint', checkpoint=content)
        unwrap(self.model).load_state_dict(content['state_dict'], strict=False)  # all are there, as checked
        meta = content['meta']
        loop.resume(meta['epoch'], meta['iter'], meta.get('within_epoch'))
        self.message_hub.load_state_dict(content['message_hub'])
        if resume_optimizer:
            self.optim_wrapper.load_state_dict(content['optimizer'])
        if resume_param_scheduler:
            if self.param_schedulers is not None:
                self.param_schedulers: list | None = self.build_param_scheduler(self.param_schedulers)
            changed = resume_schedulers(
                self.param_schedulers or [],
                content.get('param_schedulers', []),
                self.optim_wrapper.param_groups,
                loop.epoch,
                len(self.train_dataloader),
                batches_done(self),
            )
            if changed:
                self.logger.warning(changed)
        self._has_loaded = True
        self.logger.info(f'resumed epoch: {self.epoch}, iter: {self.iter}, from {filename}')


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
    programs = {'train.py': ['python', words[0]], 'glc-train': ['glc-train']}
    program = programs.get(Path(words[0]).name)
    command = 'by resume=True'
    if program and any(word.startswith('--launcher') for word in words):
        command = 'with the same command and --resume'
    elif program:
        command = f'with: {shlex.join([*program, *words[1:], "--resume"])}'
    return f"stopped; it goes on from '{folder / name}', as if it had not been, {command}"
