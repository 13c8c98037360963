"""What a training tells on the console."""

import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from glc.engine.console import WIDTH
from glc.registry import HOOKS

from .pseudo_label_hook import PseudoLabelHook

_INDENT = ' ' * 4
_TIME = 10  # columns of the time before a line
_SILENCE = 60.0  # seconds


@HOOKS.register_module()
class SummaryHook(Hook):
    """Hook that tells how a run goes: a few lines per epoch, and a line per evaluation, of at most 100 columns.

    They have the loss (mean over the epoch), the learning rate, the labels, the time of every stage, the time that is
    left, and the scores in percent. Where identities are known, ``label F`` is the pairwise F of the labels in percent,
    before and after the correction.

    Within an epoch a terminal shows a progress bar. Elsewhere a line is written every minute.

    :class:`~glc.engine.ReIDRunner` has this hook by itself.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._begin = self._told = time.monotonic()
        self._seconds: list[float] = []

    def before_train(self, runner: Runner) -> None:
        """Say where the whole log is, and whether nothing is left to train."""
        if runner.epoch >= runner.max_epochs:
            runner.logger.info(
                f'nothing left to train: {runner.epoch} of {runner.max_epochs} epochs (train_cfg.max_epochs) are done'
            )
        else:
            runner.logger.info(f"training begins; the whole log is '{runner.logger.log_file}'")

    def before_train_epoch(self, runner: Runner) -> None:
        """Begin to measure, before the labels."""
        self._begin = self._told = time.monotonic()

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begin the bar, after the labels."""
        if self._bar is None:
            quiet = None if is_main_process() else True  # None: a bar on a terminal only
            total = len(runner.train_dataloader)
            self._bar = tqdm(desc=_place(runner), total=total, initial=batch_idx, disable=quiet, leave=False)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict | None = None
    ) -> None:
        """Move the bar; without one, write a line now and then."""
        assert self._bar is not None
        self._bar.update()
        if self._bar.disable and time.monotonic() - self._told >= _SILENCE:
            self._told = time.monotonic()
            runner.logger.info(
                f'{_place(runner)}, iteration {batch_idx + 1}/{len(runner.train_dataloader)}{_loss(runner, 1)}'
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Tell the outcome of the epoch, before it is evaluated."""
        self.close_bar()
        self._seconds.append(time.monotonic() - self._begin)
        left = (runner.max_epochs - runner.epoch - 1) * sum(self._seconds) / len(self._seconds)
        hook = next((hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook)), None)
        report: Mapping[str, float] = {} if hook is None else hook.report
        stages = {
            name.removeprefix('seconds/'): value
            for name, value in report.items()
            if name.count('/') == 1
            if name.startswith('seconds/')
        }
        stages['train'] = self._seconds[-1] - sum(stages.values())
        parts = [f'{_place(runner)}{_loss(runner, len(runner.train_dataloader))}']
        if 'train/lr' in runner.message_hub.log_scalars:
            parts.append(f'lr {runner.message_hub.get_scalar("train/lr").current():.2g}')
        if report:
            assert hook is not None
            assert hook.pseudo is not None
            images = len(hook.pseudo.labels)
            parts += [f'{report["clusters"]} clusters', f'{report["outliers"] / images:.1%} outliers']
            parts += [f'reach {report["reach"]:g}'] * (report['reach'] != 1)
        elif hook is not None:
            parts.append('labels kept')
        scores = [report[name] for name in ('labels/pairwise_f', 'corrected/pairwise_f') if name in report]
        if scores:
            parts.append('label F ' + ' -> '.join(f'{100 * score:.1f}' for score in scores))
        times = [f'{name} {_duration(value)}' for name, value in stages.items()]
        if left:
            times.append(f'about {_duration(left)} left')
        _tell(runner, parts)
        _tell(runner, times, _INDENT)

    def close_bar(self) -> None:
        """Remove the bar from the terminal."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Begin to measure."""
        self._begin = time.monotonic()

    def before_test_epoch(self, runner: Runner) -> None:
        """Begin to measure."""
        self._begin = time.monotonic()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell the scores."""
        self._tell_scores(runner, metrics or {}, _INDENT)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Tell the scores."""
        self._tell_scores(runner, metrics or {}, '')

    def _tell_scores(self, runner: Runner, metrics: Mapping[str, float], indent: str) -> None:
        scores = [f'{name.rpartition("/")[2]} {value:.2f}' for name, value in metrics.items()]
        _tell(runner, [*scores, f'evaluation {_duration(time.monotonic() - self._begin)}'], indent)


def _tell(runner: Runner, parts: Sequence[str], indent: str = '') -> None:
    """Write parts side by side, as many as there is room for in a line."""
    text = '  '.join(part.replace(' ', '\xa0') for part in parts)
    for line in textwrap.wrap(text, WIDTH - _TIME, initial_indent=indent, subsequent_indent=_INDENT):
        runner.logger.info(line.replace('\xa0', ' '))


def _place(runner: Runner) -> str:
    return f'epoch {runner.epoch + 1}/{runner.max_epochs}'


def _loss(runner: Runner, iterations: int) -> str:
    """Return the mean loss of the last iterations as text; nothing where the model gives none of that name."""
    if 'train/loss' not in runner.message_hub.log_scalars:
        return ''
    return f'  loss {runner.message_hub.get_scalar("train/loss").mean(iterations):.4g}'


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f'{seconds:.1f} s'
    return f'{seconds / 60:.1f} min' if seconds < 6000 else f'{seconds / 3600:.1f} h'
