"""Train a tiny set for many epochs, and look for what grows: memory, open files, threads, worker processes.

    python tools/benchmarks/soak.py                 # 200 epochs
    python tools/benchmarks/soak.py --epochs 40 --work-dir work_dirs/short_soak

Drawn images, two loader workers, labels in every epoch, a checkpoint and an evaluation in every fifth one. After every
epoch the process counts its memory, the memory of its workers, its open files, its threads and its processes. The table
has a row for every tenth of the run. The run is flat if, after the first quarter, its open files, threads and processes
do not grow, and its memory grows by less than 5 %. The exit status is 1 where it is not.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.apis import build_runner, load_config, prepare_config
from glc.datasets import SyntheticSpec, make_synthetic

SPEC = SyntheticSpec(train_ids=12, train_images=6, test_ids=6, test_images=4, distractors=2, junk=2)
MOST_GROWTH = 0.05


class Use(NamedTuple):
    """What a process holds."""

    epoch: int
    megabytes: float
    workers_megabytes: float
    files: int
    threads: int
    processes: int


def memory(process: int | str) -> float:
    """Return the memory of a process in megabytes, without files, and by its share of what is common; 0 at its end."""
    try:
        lines = Path(f'/proc/{process}/smaps_rollup').read_text().splitlines()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith('Pss_Anon:')) / 1024


def children() -> list[str]:
    """List the processes that this one has started."""
    tasks = Path('/proc/self/task').iterdir()
    return [child for task in tasks for child in (task / 'children').read_text().split()]


class Watch(Hook):
    """Count after every epoch."""

    def __init__(self) -> None:
        self.uses: list[Use] = []

    def after_train_epoch(self, runner: Runner) -> None:
        """Count."""
        started = children()
        self.uses.append(
            Use(
                runner.epoch + 1,
                memory('self'),
                sum(map(memory, started)),
                len(os.listdir('/proc/self/fd')),
                len(os.listdir('/proc/self/task')),
                len(started),
            )
        )


def train(work_dir: Path, epochs: int) -> list[Use]:
    """Train, and return what was counted."""
    images = work_dir / 'images'
    make_synthetic(images, SPEC, 1)
    options = {
        'train_dataloader.batch_size': 16,
        'train_dataloader.sampler.num_ids': 4,
        'train_dataloader.sampler.num_instances': 4,
        'train_dataloader.sampler.iterations': 2,
        'model.bn_group_size': 16,
        'default_hooks.pseudo_label.labeler.k1': 8,
        'default_hooks.pseudo_label.labeler.min_samples': 2,
        'default_hooks.pseudo_label.num_workers': 1,
        'default_hooks.checkpoint.interval': 5,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': 5,
    }
    for loader in ('train', 'val', 'test'):
        options[f'{loader}_dataloader.dataset.data_root'] = str(images)
        options[f'{loader}_dataloader.num_workers'] = 2
    cfg = load_config(
        'cluster_contrast/demo_synthetic', options, str(work_dir / time.strftime('%Y%m%d_%H%M%S'))
    )
    runner = build_runner(prepare_config(cfg))
    watch = Watch()
    runner.register_hook(watch, 'LOWEST')
    runner.train()
    return watch.uses


def growth(uses: list[Use]) -> dict[str, float]:
    """Return how much grows from the second quarter to the last one: a share of memory, a number of all else."""
    quarter = len(uses) // 4
    early, late = (
        np.median(np.array(part), axis=0) for part in (uses[quarter : 2 * quarter], uses[-quarter:])
    )
    return {
        name: float(last / first - 1 if 'megabytes' in name else last - first)
        for name, first, last in zip(Use._fields[1:], early[1:], late[1:], strict=True)
        if first
    }


def main() -> int:
    """Train and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--epochs', type=int, default=200, help='default: %(default)s')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/soak'), help='default: %(default)s')
    args = parser.parse_args()
    begin = time.monotonic()
    uses = train(args.work_dir, args.epochs)
    print(
        '| epoch | memory, MB | memory of workers, MB | open files | threads | processes |\n|---|---|---|---|---|---|'
    )
    for use in uses[9 :: max(args.epochs // 10, 1)] or uses:
        print(
            f'| {use.epoch} | {use.megabytes:.0f} | {use.workers_megabytes:.0f} | {" | ".join(map(str, use[3:]))} |'
        )
    grown = growth(uses)
    print(
        'growth from the second quarter to the last: '
        + ', '.join(
            f'{name} {value:+.1%}' if 'megabytes' in name else f'{name} {value:+.0f}'
            for name, value in grown.items()
        )
    )
    flat = all(value < (MOST_GROWTH if 'megabytes' in name else 0.5) for name, value in grown.items())
    print(
        f'{"flat" if flat else "NOT flat"}: {len(uses)} epochs in {(time.monotonic() - begin) / 60:.0f} minutes'
    )
    return 0 if flat else 1


if __name__ == '__main__':
    sys.exit(main())
