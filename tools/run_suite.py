"""Train and evaluate the settings of a suite, seed by seed, in the time that there is.

    python tools/run_suite.py --budget 120            # tools/suites/market.yml on a GPU, two hours
    python tools/run_suite.py --cpu --seeds 0         # tools/suites/market_cpu.yml, a schedule for two cores
    python tools/run_suite.py --cpu --settings uda_glc   # one of its settings; another process may run others

Run it again to go on: what is finished is skipped, what was stopped is resumed. Where the budget is used up, the
running training ends after its epoch, and nothing is started any more. RESULTS.md, curves/SETTING.md and curves.png in
the work dir tell what there is after every run. A suite is a YAML file:

    merge: [configs/_base_/schedules/cpu_10e.py]      # configs laid over every setting; may be left out
    options: {KEY: VALUE, ...}                        # then these, as --cfg-options does; may be left out
    settings:                                         # in the order in which they run
      NAME: {config: FILE, options: {...}}            # options of this setting only; may be left out
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent / 'analysis_tools'))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import yaml
from print_curves import curves_table, read_epochs

from glc.utils.files import atomic_file
from glc.utils.images import encoded
from glc.utils.scalars import pass_over

if TYPE_CHECKING:
    from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[1]
SCORES = ['reid/mAP', 'reid/rank1']
EPOCH = 'seconds/epoch'
STAGES = ['pseudo_labels/seconds/extract', 'pseudo_labels/seconds/label', 'pseudo_labels/seconds/correct']


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('suite', nargs='?', type=Path, help='YAML file (default: tools/suites/market.yml)')
    parser.add_argument(
        '--cpu', action='store_true', help='tools/suites/market_cpu.yml and no GPU, where not named otherwise'
    )
    parser.add_argument(
        '--budget', type=float, default=float('inf'), metavar='MINUTES', help='default: no end'
    )
    parser.add_argument(
        '--grace',
        type=float,
        default=5,
        metavar='MINUTES',
        help='what an epoch or evaluation may take beyond the budget before it is cut off (default: %(default)s)',
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument(
        '--settings',
        nargs='+',
        metavar='NAME',
        help='run these only, in the order of the suite (default: all)',
    )
    parser.add_argument(
        '--device',
        metavar='IDS',
        help="GPUs as in CUDA_VISIBLE_DEVICES, one process for each, or 'cpu' (default: one GPU if there is any)",
    )
    parser.add_argument('--work-dir', type=Path, help='folder of the runs (default: work_dirs/NAME_OF_SUITE)')
    args = parser.parse_args()
    if args.suite is None:
        args.suite = ROOT / 'tools/suites' / ('market_cpu.yml' if args.cpu else 'market.yml')
    args.device = args.device or ('cpu' if args.cpu else None)
    args.processes = 1 if args.device in (None, 'cpu') else len(args.device.split(','))
    args.suite = args.suite.resolve()
    args.work_dir = (args.work_dir or ROOT / 'work_dirs' / args.suite.stem).resolve()
    return args


@dataclass(frozen=True)
class Run:
    """One setting with one seed, and what is there of it."""

    setting: str
    source: str
    seed: int
    folder: Path
    cfg: Config

    @property
    def config(self) -> Path:
        """The complete config, beside the folder: a training writes its own version into it."""
        return self.folder.with_suffix('.py')

    @property
    def max_epochs(self) -> int:
        """Length of the training."""
        return self.cfg.train_cfg.max_epochs

    @property
    def epochs(self) -> int:
        """Epochs whose checkpoint was written."""
        from glc.engine.work_dir import checkpoints_in, pointed_to

        written = checkpoints_in(self.folder, 'epoch_{}.pth')
        named = pointed_to(self.folder)
        return next((epoch for epoch, path in written.items() if path.name == named), max(written, default=0))

    @property
    def scores(self) -> dict[str, float]:
        """Scores of the last epoch, of the training or of an evaluation after it; empty before that."""
        path = self.folder / 'scores.json'
        if path.is_file():
            try:
                scores = json.loads(path.read_text())
                return {name: float(scores[name]) for name in SCORES}
            except (KeyError, TypeError, ValueError) as error:
                pass_over(path, error)
        last = self.log(SCORES).get(self.max_epochs, {})
        return {name: last[name] for name in SCORES} if set(SCORES) <= set(last) else {}

    def log(self, names: list[str]) -> dict[int, dict[str, float]]:
        """Read losses and the named values by epoch."""
        return read_epochs(self.folder, names)


def plan(args: argparse.Namespace) -> list[Run]:
    """Plan all runs in their order, seed by seed.

    Raises:
        ValueError: If the suite is not understood.
    """
    from mmengine.config import Config  # after --help: it takes seconds

    suite = yaml.safe_load(args.suite.read_text())
    settings = suite.get('settings') if isinstance(suite, dict) else None
    if not settings or not set(suite) <= {'merge', 'options', 'settings'}:
        raise ValueError(
            f"'{args.suite}' needs settings, and may have merge and options; see run_suite.py --help"
        )
    overlays = [Config.fromfile(path).to_dict() for path in suite.get('merge', [])]
    overlays.append(suite.get('options', {}))
    runs = []
    for seed in args.seeds:
        for name, setting in settings.items():
            if not re.fullmatch(r'\w[\w.+-]*', str(name)):
                raise ValueError(
                    f"'{args.suite}': the setting {name!r} names a folder of the work dir, so it takes letters, digits "
                    "and '_', and after the first of them '.', '+' and '-' too"
                )
            if (
                not isinstance(setting, dict)
                or 'config' not in setting
                or not set(setting) <= {'config', 'options'}
            ):
                raise ValueError(f"setting '{name}' needs a config, and may have options, got {setting}")
            cfg = make_config(setting['config'], [*overlays, setting.get('options', {})], seed)
            runs.append(
                Run(str(name), setting['config'], seed, args.work_dir / str(name) / f'seed_{seed}', cfg)
            )
    return runs


def choose(runs: list[Run], settings: list[str] | None) -> list[Run]:
    """Choose the runs of these settings; all where none is named.

    Raises:
        ValueError: If a setting is not in the suite.
    """
    known = dict.fromkeys(run.setting for run in runs)
    unknown = set(settings or []) - set(known)
    if unknown:
        raise ValueError(f'no setting {sorted(unknown)} in the suite, it has: {", ".join(known)}')
    return [run for run in runs if settings is None or run.setting in settings]


def make_config(path: str, overlays: list[dict[str, Any]], seed: int) -> Config:
    """Make the config of a run; it has two checkpoints, for the case that one is damaged."""
    from mmengine.config import Config

    cfg = Config.fromfile(path)
    own = {
        'randomness.seed': seed,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'default_hooks.time_budget.type': 'TimeBudgetHook',
    }
    for overlay in (*overlays, own):
        cfg.merge_from_dict(overlay)
    return cfg


def check(runs: list[Run], processes: int) -> None:
    """Check that everything is there that the runs need, before any of them starts; write their configs.

    Raises:
        FileNotFoundError: If data or weights are missing.
        RuntimeError: If a data set is incomplete, or a folder holds a run of another config.
        ValueError: If a batch cannot be shared by the processes.
    """
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    import glc.datasets  # noqa: F401
    from glc.apis import share_batch
    from glc.registry import DATASETS

    data: list[dict] = []
    for run in runs:
        share_batch(Config(run.cfg.to_dict()), processes)
        start = (run.cfg.model.backbone.get('init_cfg') or {}).get('checkpoint')
        if start and not Path(start).is_file():
            raise FileNotFoundError(
                f"setting '{run.setting}' starts from '{start}', which does not exist: its file in "
                'configs/_base_/models says where it comes from; another place is an option of the suite'
            )
        for loader in (run.cfg.train_dataloader, run.cfg.test_dataloader):
            dataset = {**loader.dataset.to_dict(), 'pipeline': []}
            if dataset not in data:
                data.append(dataset)
                with DefaultScope.overwrite_default_scope('glc'):
                    DATASETS.build(dataset)
        if run.config.is_file() and Config.fromfile(run.config).to_dict() != run.cfg.to_dict():
            raise RuntimeError(
                f"'{run.folder}' holds a run of another config: delete or move it, or take another --work-dir"
            )
        run.folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(run.config) as path:
            run.cfg.dump(path)


def launch(run: Run, tool: str, arguments: list[str], args: argparse.Namespace, end: float) -> int | None:
    """Return the exit status of a program, whose output goes to a file; None where it was cut off at that Unix time."""
    command = [sys.executable]
    if args.processes > 1:
        command += ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={args.processes}']
        arguments = [*arguments, '--launcher', 'pytorch']
    environment = dict(os.environ)
    if args.device:
        environment['CUDA_VISIBLE_DEVICES'] = '' if args.device == 'cpu' else args.device
    limit = None if end == float('inf') else max(end - time.time(), 0)
    with (run.folder / f'{tool}.log').open('a') as log:
        process = subprocess.Popen(
            [*command, str(ROOT / 'tools' / f'{tool}.py'), str(run.config), *arguments],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def execute(run: Run, args: argparse.Namespace, deadline: float) -> bool:
    """Train and evaluate as far as the time allows; whether nothing failed."""
    end = deadline + 60 * args.grace
    if run.epochs < run.max_epochs:
        arguments = ['--work-dir', str(run.folder), '--resume']
        if deadline < float('inf'):
            arguments += ['--cfg-options', f'default_hooks.time_budget.deadline={deadline}']
        say(run, f'training from epoch {run.epochs} of {run.max_epochs}')
        if launch(run, 'train', arguments, args, end):
            say(run, f'FAILED, see {run.folder}/train.log')
            return False
    if run.epochs < run.max_epochs:
        say(run, f'stopped after epoch {run.epochs} of {run.max_epochs}')
        return True
    if not run.scores:  # interrupted in its last evaluation
        checkpoint = str(run.folder / f'epoch_{run.max_epochs}.pth')
        out = ['--out', str(run.folder / 'scores.json'), '--work-dir', str(run.folder / 'test')]
        if launch(run, 'test', [checkpoint, *out], args, end):
            say(run, f'FAILED, see {run.folder}/test.log')
            return False
    say(run, 'finished' if run.scores else 'trained, not evaluated')
    return True


def say(run: Run, text: str) -> None:
    """Print one line with the time."""
    print(f'{time.strftime("%H:%M:%S")}  {run.setting}, seed {run.seed}: {text}', flush=True)


def expected_epoch(runs: list[Run], setting: str) -> float:
    """Return the longest epoch of a setting so far, in seconds; 0 where none was measured."""
    logs = (run.log([EPOCH]) for run in runs if run.setting == setting)
    return max((values.get(EPOCH, 0.0) for log in logs for values in log.values()), default=0.0)


def mean_and_spread(values: list[float]) -> str:
    """Format the mean, and the standard deviation of a sample where there are several values."""
    if not values:
        return 'not measured'
    return f'{fmean(values):.1f}' + (f' ± {stdev(values):.1f}' if len(values) > 1 else '')


def seconds_of(runs: list[Run]) -> list[str]:
    """Average the seconds per epoch, and of its stages where they happened: extract, label, correct, train."""
    logs = (run.log([EPOCH, *STAGES]) for run in runs)
    epochs = [values for log in logs for values in log.values() if EPOCH in values]
    columns = [[values[name] for values in epochs if name in values] for name in (EPOCH, *STAGES)]
    columns.append([values[EPOCH] - sum(values.get(name, 0) for name in STAGES) for values in epochs])
    return [f'{fmean(column):.1f}' if column else '' for column in columns]


def results(runs: list[Run]) -> str:
    """Write the Markdown table of all settings."""
    header = ['setting', 'config', 'seeds done', 'epochs done', 'mAP', 'Rank-1']
    header += ['s per epoch', 'extract', 'label', 'correct', 'train']
    lines = [header, ['---'] * len(header)]
    for setting in dict.fromkeys(run.setting for run in runs):
        own = [run for run in runs if run.setting == setting]
        done = [run for run in own if run.scores]
        seeds = ', '.join(str(run.seed) for run in done) or 'none'
        epochs = f'{", ".join(str(run.epochs) for run in own)} of {own[0].max_epochs}'
        scores = [mean_and_spread([run.scores[name] for run in done]) for name in SCORES]
        lines.append([setting, own[0].source, seeds, epochs, *scores, *seconds_of(own)])
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    seeds = ', '.join(str(seed) for seed in dict.fromkeys(run.seed for run in runs))
    return (
        f'Seeds {seeds}; epochs done are listed in their order. mAP and Rank-1 in percent, of the last epoch: mean and '
        'standard deviation over the\nseeds done. Seconds are means over the epochs, those of a stage over the epochs '
        f'that have it; an epoch is without its evaluation.\n\n{table}\n'
    )


def report(runs: list[Run], folder: Path) -> None:
    """Write the table, the curves and their picture."""
    from matplotlib.figure import Figure

    with atomic_file(folder / 'RESULTS.md') as path:
        path.write_text(results(runs))
    figure = Figure(figsize=(8, 5))
    axes = figure.subplots()
    for number, setting in enumerate(dict.fromkeys(run.setting for run in runs)):
        parts = []
        label = setting
        for run in (run for run in runs if run.setting == setting):
            epochs = run.log(SCORES)
            if not epochs:
                continue
            parts.append(f'## {setting}, seed {run.seed}\n\n{curves_table(epochs, SCORES)}\n')
            points = sorted(
                (epoch, values[SCORES[0]]) for epoch, values in epochs.items() if SCORES[0] in values
            )
            if points:
                axes.plot(*zip(*points, strict=True), color=f'C{number}', marker='.', label=label)
                label = '_nolegend_'
        with atomic_file(folder / 'curves' / f'{setting}.md') as path:
            path.write_text('\n'.join(parts))
    axes.set(xlabel='epoch', ylabel='mAP (%)')
    if axes.lines:
        axes.legend()
    with atomic_file(folder / 'curves.png') as path:
        path.write_bytes(encoded(figure, '.png', dpi=150))


def main() -> int:
    """Run; return 1 where a run failed."""
    args = parse_args()
    deadline = time.time() + 60 * args.budget
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(ROOT)
    try:
        runs = plan(args)
        chosen = choose(runs, args.settings)
        check(chosen, args.processes)
    except (OSError, RuntimeError, ValueError, yaml.YAMLError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    failed = False
    for run in chosen:
        if run.scores:
            say(run, 'is finished')
        elif time.time() + expected_epoch(runs, run.setting) >= deadline:
            say(run, 'not started, the budget is used up')
        else:
            try:
                failed |= not execute(run, args, deadline)
            finally:
                report(runs, args.work_dir)
    report(runs, args.work_dir)
    print(results(runs))
    return int(failed)


if __name__ == '__main__':
    sys.exit(main())
