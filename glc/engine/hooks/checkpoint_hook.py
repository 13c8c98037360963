"""Checkpoints that no kill, no full disk and no other run can take away."""

import hashlib
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook as _CheckpointHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from glc.checkpoints import load_checkpoint_file, write_checkpoint_file
from glc.engine.console import DETAIL
from glc.engine.loop import EpochLoop, batches_done, state_within_epoch
from glc.engine.work_dir import POINTER, WITHIN_EPOCH, checkpoints_in, point_to
from glc.registry import HOOKS
from glc.utils.files import unfinished_files


@HOOKS.register_module()
class CheckpointHook(_CheckpointHook):
    """mmengine's hook, but a checkpoint goes when its successor is on the disk and ``last_checkpoint`` names it.

    A run removes files in its own folder only, and only older ones: after a resume too, it keeps ``max_keep_ckpts``
    checkpoints and one best checkpoint of each score. ``last_checkpoint`` lies beside them and holds a file name, so
    the folder may be moved or copied.

    A checkpoint is written again, in one step, when its evaluation is over. A run that is resumed from one whose
    evaluation was cut off begins with that evaluation.

    Within an epoch too a run can be saved, and goes on bit for bit on a CPU: every so many ``iterations`` or
    ``minutes``, and when a signal ends it. That file, ``within_epoch_N.pth``, goes when a newer one of either kind is
    there. It needs :class:`~glc.engine.EpochLoop`, which :class:`~glc.engine.ReIDRunner` has by itself. With
    ``by_epoch=False``, the checkpoints of the interval are such ones.

    Args:
        interval: Epochs or iterations from one checkpoint to the next.
        iterations: Iterations of an epoch from one checkpoint within it to the next; None counts none.
        minutes: Save within an epoch where the last checkpoint is as old as this, labeling included; None never does.
        **kwargs: Other arguments of mmengine's ``CheckpointHook``.

    Raises:
        ValueError: If the checkpoints should go to a remote store, or ``iterations`` or ``minutes`` are not positive.

    Example:
        >>> hook = CheckpointHook(interval=1, max_keep_ckpts=1, save_best='reid/mAP', rule='greater')
    """

    def __init__(
        self, interval: int = -1, iterations: int | None = None, minutes: float | None = 15, **kwargs: Any
    ) -> None:
        for name, value in (('iterations', iterations), ('minutes', minutes)):
            if value is not None and value <= 0:
                raise ValueError(f'default_hooks.checkpoint.{name} must be positive or None, got {value}')
        super().__init__(interval, **kwargs)
        self.iterations = iterations
        self.minutes = minutes
        self._saved = 0.0
        for name in ('out_dir', 'backend_args', 'file_client_args'):
            value = getattr(self, name)
            if value and (name != 'out_dir' or '://' in str(value)):
                raise ValueError(
                    f'default_hooks.checkpoint.{name}={value!r} is a remote store, where a checkpoint cannot be '
                    'replaced in one step: save to a local folder and copy it'
                )

    def folder(self, runner: Runner) -> Path:
        """Return the folder of the checkpoints: the work dir, or a folder of its name in ``out_dir``."""
        work_dir = Path(runner.work_dir)
        return work_dir if self.out_dir in (None, runner.work_dir) else Path(self.out_dir, work_dir.name)

    def before_train(self, runner: Runner) -> None:
        """Finish what was cut off: remove what is left over, and make up for the evaluation."""
        self._folder = self.folder(runner)
        runner.logger.info(f"Checkpoints will be saved to '{self._folder}'.", extra=DETAIL)
        self._saved = time.monotonic()
        step = self._step(runner)
        own = self._folder / self.filename_tmpl.format(step)
        self.last_ckpt = str(own) if own.is_file() else None
        if is_main_process():
            for name in ('*.pth', POINTER):
                for path in unfinished_files(self._folder / name):
                    path.unlink(missing_ok=True)
            if own.is_file():
                self._remove(self.filename_tmpl, step, self.max_keep_ckpts)
        if self.save_best == ['auto'] and 'best_key' in runner.message_hub.runtime_info:
            self._init_rule(self.rules, [runner.message_hub.runtime_info['best_key']])
        for key in self.key_indicators if self.save_best else ():
            name = Path(runner.message_hub.runtime_info.get(self._info('best_ckpt', key), '')).name
            for number, path in checkpoints_in(self._folder, self._best_template(key)).items():
                if path.name == name:
                    self._set_best(key, number, path)
        if self._lacks_evaluation(runner):
            runner.logger.info(
                f'the evaluation of {own.name} was cut off, or is of another run: it comes first'
            )
            runner.val_loop.run()

    def due_within_epoch(self, runner: Runner, batch_idx: int) -> bool:
        """Return whether a checkpoint is due after this batch of an epoch; processes may differ in it."""
        if not self.by_epoch:
            last = self.save_last and self.is_last_train_iter(runner)
            return last or self.every_n_train_iters(runner, self.interval, self.save_begin)
        late = self.minutes is not None and time.monotonic() - self._saved >= 60 * self.minutes
        due = late or (self.iterations is not None and (batch_idx + 1) % self.iterations == 0)
        return due and batch_idx + 1 < len(runner.train_dataloader)

    def save_within_epoch(self, runner: Runner, batch_idx: int) -> None:
        """Save what goes on after this batch of an epoch; to be called on all processes."""
        if not isinstance(runner.train_loop, EpochLoop):
            return
        state = state_within_epoch(runner, batch_idx + 1)
        meta = {'epoch': runner.epoch, 'iter': runner.iter + 1, 'within_epoch': state}
        if self.by_epoch:
            self._write(runner, WITHIN_EPOCH, runner.epoch + 1, 1, meta)
        else:
            self._save_checkpoint_with_step(runner, runner.iter + 1, meta)

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Save as mmengine does where no epochs are counted; within an epoch, ``SignalHook`` asks for it."""
        if not isinstance(runner.train_loop, EpochLoop):
            super().after_train_iter(runner, *args, **kwargs)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Write a checkpoint, point to it, then remove older ones."""
        self.last_ckpt = str(self._folder / self.filename_tmpl.format(step))
        with getattr(runner, 'uninterrupted', nullcontext)():
            self._write(runner, self.filename_tmpl, step, self.max_keep_ckpts, meta)
            self._remove(WITHIN_EPOCH, meta['epoch'] + 1, 1)

    def _write(self, runner: Runner, template: str, number: int, keep: int, meta: dict) -> None:
        path = self._folder / template.format(number)
        runner.save_checkpoint(
            str(self._folder),
            path.name,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            **self.args,
        )
        self._saved = time.monotonic()
        if is_main_process():
            point_to(path)
            self._remove(template, number, keep)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Write the best checkpoints, then the state that knows the evaluation, then remove earlier ones."""
        step = self._step(runner)
        runner.message_hub.update_info('evaluated', _progress(runner))
        best: dict[str, Path] = {}
        if self.save_best and 'auto' in self.key_indicators:
            self._init_rule(self.rules, [next(iter(metrics))])
            runner.message_hub.update_info('best_key', self.key_indicators[0])
        for key, rule in zip(self.key_indicators, self.rules, strict=True) if self.save_best else ():
            score, name = metrics[key], self._info('best_score', key)
            earlier = runner.message_hub.runtime_info.get(name, self.init_value_map[rule])
            if score is None or not self.is_better_than[key](score, earlier):
                continue
            best[key] = self._folder / self._best_template(key).format(step)
            runner.message_hub.update_info(name, score)
            runner.message_hub.update_info(self._info('best_ckpt', key), best[key].name)
            runner.save_checkpoint(
                str(self._folder),
                best[key].name,
                save_optimizer=False,
                save_param_scheduler=False,
                meta=_meta(runner),
                by_epoch=False,
            )
            runner.logger.info(
                f"The best checkpoint with {score:0.4f} {key} is saved to '{best[key]}'.", extra=DETAIL
            )
        # What was written at this step before the evaluation does not know its outcome.
        if (best and self.interval > 0) or self.last_ckpt == str(
            self._folder / self.filename_tmpl.format(step)
        ):
            self._save_checkpoint_with_step(runner, step, _meta(runner))
        for key, path in best.items():
            self._set_best(key, step, path)

    def _publish_model(self, runner: Runner, ckpt_path: str) -> None:
        """Write the part of a checkpoint that is to be published, under a name with its digest."""
        if is_main_process():
            content = load_checkpoint_file(ckpt_path)
            digest = hashlib.sha256(Path(ckpt_path).read_bytes()).hexdigest()
            target = Path(ckpt_path).with_suffix('').as_posix() + f'-{digest[:8]}.pth'
            write_checkpoint_file(
                {key: content[key] for key in self.published_keys if key in content}, target
            )
            runner.logger.info(f"'{ckpt_path}' is published as '{target}'.")

    def _set_best(self, key: str, number: int, path: Path) -> None:
        """Take a file as the best one of a score, and remove earlier ones."""
        if len(self.key_indicators) == 1:
            self.best_ckpt_path = str(path)
        else:
            self.best_ckpt_path_dict[key] = str(path)
        self._remove(self._best_template(key), number, 1)

    def _remove(self, template: str, newest: int, keep: int) -> None:
        """Remove files of this name that are older than a number; ``keep`` are kept, the newest one included."""
        older = [path for number, path in checkpoints_in(self._folder, template).items() if number < newest]
        if keep > 0 and is_main_process():
            for path in older[: max(len(older) + 1 - keep, 0)]:
                path.unlink(missing_ok=True)

    def _lacks_evaluation(self, runner: Runner) -> bool:
        """Whether an evaluation is due at this step, and the checkpoint does not know of it."""
        done, loop = _progress(runner), runner.train_loop
        known = isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop)) and runner.val_loop is not None
        if (
            not known
            or not done
            or batches_done(runner)
            or runner.message_hub.runtime_info.get('evaluated') == done
        ):
            return False
        loop._decide_current_val_interval()
        last = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
        return done >= loop.val_begin and (done % loop.val_interval == 0 or done == last)

    def _step(self, runner: Runner) -> int:
        """Return the number in the name of a checkpoint, between epochs or iterations."""
        return runner.epoch if self.by_epoch else runner.iter

    def _info(self, name: str, key: str) -> str:
        """Return the name under which the message hub keeps something about a score."""
        return name if len(self.key_indicators) == 1 else f'{name}_{key}'

    def _best_template(self, key: str) -> str:
        return f'best_{key}_{self.filename_tmpl}'.replace('/', '_')


def _progress(runner: Runner) -> int:
    """Return what evaluations are counted by: finished epochs, or iterations."""
    return runner.epoch if isinstance(runner.train_loop, EpochBasedTrainLoop) else runner.iter


def _meta(runner: Runner) -> dict:
    return {'epoch': runner.epoch, 'iter': runner.iter}
