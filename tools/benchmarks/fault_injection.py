"""Kill a small training at random moments, resume it, and compare it with one that was never killed.

    python tools/benchmarks/fault_injection.py                    # 100 trials
    python tools/benchmarks/fault_injection.py --trials 4 --seed 1

Every trial starts a training on drawn images (three epochs with labels, a checkpoint after every iteration, and
evaluations), ends it by SIGKILL, and starts it once more with ``--resume``. Every second trial has two processes, of
which the first, the second or both are killed; the other one has to end by itself. In every third trial the kill comes
while a file is being written: the process is stopped when an unfinished file is seen, and killed if that is still
there. The other moments are anywhere in the run, its start included.

A trial has survived if the training comes to its end, and is equal if all checkpoints that it leaves have the same
weights, optimizer, labels and scores as those of the uninterrupted run with as many processes, bit for bit.

The processes are forked from this one, so they need not import what it has imported. What is done is kept: run it again
to go on. The exit status is 1 where a trial failed.
"""

import argparse
import atexit
import gc
import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'analysis_tools'))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from print_curves import read_epochs
from tqdm import tqdm

from glc.utils.files import atomic_file, unfinished_files

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'cluster_contrast' / 'demo_synthetic.py'
EPOCHS = 3
SCORES = ['reid/mAP', 'reid/rank1']
IMAGES = {'train_ids': 12, 'train_images': 6, 'test_ids': 6, 'test_images': 4, 'distractors': 2, 'junk': 2}
OPTIONS = [
    'train_dataloader.batch_size=16',
    'train_dataloader.sampler.num_ids=4',
    'train_dataloader.sampler.num_instances=4',
    'train_dataloader.sampler.iterations=4',
    'model.bn_group_size=8',
    'default_hooks.checkpoint.iterations=1',
    'default_hooks.pseudo_label.labeler.k1=8',
    'default_hooks.pseudo_label.labeler.min_samples=2',
    'train_dataloader.num_workers=1',
    'val_dataloader.num_workers=0',
    'test_dataloader.num_workers=0',
    'default_hooks.pseudo_label.num_workers=0',
    # The last epoch has the labels of the checkpoint before it.
    f'default_hooks.pseudo_label.frozen_epochs=[{EPOCHS - 1}]',
    'default_hooks.logger.interval=1',
    f'train_cfg.max_epochs={EPOCHS}',
    'train_cfg.val_interval=1',
    'env_cfg.start_timeout=20',
]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--trials', type=int, default=100, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: %(default)s)')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/fault_injection'), help='default: %(default)s'
    )
    return parser.parse_args()


def train(
    arguments: list[str], log: Path, environment: dict[str, str], prepare: Callable[[int], None] | None
) -> None:
    """Train in this process, which was forked; its output is added to a file."""
    with log.open('a') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.environ.update(environment)
    if prepare is not None:
        prepare(int(environment['RANK']))
    try:
        from glc.cli.train import main

        main(arguments)
    except Exception:
        sys.excepthook(*sys.exc_info())  # that of the run ends all its processes
        sys.exit(1)


def start(
    work: Path,
    folder: Path,
    size: int,
    further: Sequence[str] = (),
    prepare: Callable[[int], None] | None = None,
) -> list[ForkProcess]:
    """Start the processes of a training, or go on with it; their output is added to a file beside the folder.

    Args:
        work: Folder with the images.
        folder: Work dir of the training.
        size: Number of processes.
        further: Options of the config.
        prepare: Is called in every process, with its rank, before it trains.
    """
    options = [*OPTIONS, *further]
    for loader in ('train', 'val', 'test'):
        options.append(f'{loader}_dataloader.dataset.data_root={work / "images"}')
    arguments = [str(CONFIG), '--work-dir', str(folder), '--resume']
    arguments += ['--launcher', 'pytorch' if size > 1 else 'none', '--cfg-options', *options]
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    started = []
    for rank in map(str, range(size)):
        environment = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': str(size)}
        environment |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
        process = multiprocessing.get_context('fork').Process(
            target=train, args=(arguments, folder.with_suffix('.log'), environment, prepare)
        )
        process.start()
        started.append(process)
    return started


def succeeded(processes: list[ForkProcess]) -> bool:
    """Wait for the end; whether all processes ended well."""
    for process in processes:
        process.join()
    return not any(process.exitcode for process in processes)


def kill_after(seconds: float, running: list[ForkProcess], victims: list[ForkProcess]) -> None:
    """Wait, and kill."""
    running[0].join(seconds)
    for process in victims:
        process.kill()


def kill_while_writing(
    folder: Path, number: int, running: list[ForkProcess], victims: list[ForkProcess]
) -> None:
    """Kill while the file of this number since the start, from 1, is being written; or one after it."""
    seen: set[Path] = set()
    writer = running[0]
    while writer.is_alive():
        files = unfinished(folder)
        seen |= files
        if files and len(seen) >= number:
            os.kill(writer.pid or 0, signal.SIGSTOP)
            time.sleep(0.05)  # until it stands still
            if any(path.exists() for path in files):
                for process in victims:
                    process.kill()
                os.kill(writer.pid or 0, signal.SIGCONT)
                return
            os.kill(writer.pid or 0, signal.SIGCONT)
        time.sleep(0.001)


def unfinished(folder: Path) -> set[Path]:
    """Return the files that are being written, or that a kill has left."""
    return {path for name in ('*.pth', 'last_checkpoint') for path in unfinished_files(folder / name)}


def complete(folder: Path) -> list[Path]:
    """List the checkpoints without unfinished files."""
    return sorted(path for path in folder.glob('*.pth') if not path.name.startswith('.'))


def outcome(folder: Path) -> dict[str, Any]:
    """Return what two runs must have in common: scores, and the checkpoints but for names and times."""
    from glc.checkpoints import load_checkpoint_file

    last = read_epochs(folder, SCORES).get(EPOCHS, {})
    found: dict[str, Any] = {'scores': [last.get(name) for name in SCORES]}  # logged losses are smoothed
    for path in complete(folder):
        content = load_checkpoint_file(path)
        content['meta'] = {name: content['meta'][name] for name in ('epoch', 'iter', 'seed')}
        info = content['message_hub']['runtime_info']
        content['message_hub'] = {name: info.get(name) for name in ('best_score', 'best_ckpt', 'evaluated')}
        found[path.name] = content
    return found


def same(first: Any, second: Any) -> bool:
    """Whether two contents are equal, tensors bit for bit."""
    import torch

    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return (
            isinstance(second, dict)
            and first.keys() == second.keys()
            and all(same(first[key], second[key]) for key in first)
        )
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def code() -> str:
    """Digest of the code and the configs, which two runs must share to be equal."""
    digest = hashlib.sha256()
    for path in sorted(
        path for folder in ('glc', 'configs', 'tools') for path in (ROOT / folder).rglob('*.py')
    ):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def uninterrupted(work: Path, size: int) -> dict[str, Any]:
    """Run the training that is never killed, once; returns its seconds and how many files it writes."""
    folder = work / f'whole_{size}'
    result = folder.with_suffix('.json')
    if not result.is_file():
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.time()
        processes = start(work, folder, size)
        files: set[Path] = set()
        while processes[0].is_alive():
            files |= unfinished(folder)
            time.sleep(0.001)
        if not succeeded(processes):
            raise RuntimeError(f"the uninterrupted training failed, see '{folder.with_suffix('.log')}'")
        found = {'seconds': time.time() - begin, 'files': len(files), 'code': code()}
        with atomic_file(result) as path:
            path.write_text(json.dumps(found))
    whole = json.loads(result.read_text())
    if whole['code'] != code():
        raise RuntimeError(f"'{work}' was made with other code: delete it, or take another --work-dir")
    return whole


def trial(work: Path, seed: int, wholes: dict[int, dict[str, Any]], number: int) -> dict[str, Any]:
    """Kill, resume and compare; what is known from an earlier call is read."""
    result = work / f'seed_{seed}' / f'{number:03}.json'
    if result.is_file():
        return json.loads(result.read_text())
    folder = result.with_suffix('')
    size = 1 + number % 2
    whole, attempt, killed = wholes[size], 0, False
    while not killed:
        rng = np.random.default_rng((seed, number, attempt))
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix('.log').unlink(missing_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        running = start(work, folder, size)
        ranks = {1: [[0]], 2: [[0], [1], [0, 1]]}[size][int(rng.integers(2 * size - 1))]
        victims = [running[rank] for rank in ranks]
        if number % 3 == 0:
            moment = int(rng.integers(1, max(int(whole['files']), 1) + 1))
            what = f'while writing file {moment}'
            kill_while_writing(folder, moment, running, victims)
        else:
            # A run that had ended before its kill was faster than the uninterrupted one: look in half the time.
            seconds = float(rng.uniform(0, whole['seconds'] / 2**attempt))
            what = f'after {seconds:.2f} s'
            kill_after(seconds, running, victims)
        begin = time.time()
        succeeded(running)
        ending = time.time() - begin
        killed = all(process.exitcode == -signal.SIGKILL for process in victims)
        ended = all(process.exitcode for process in running)
        attempt += 1
    left = [path.name for path in complete(folder)]
    halves = len(unfinished(folder))
    survived = ended and succeeded(start(work, folder, size))
    equal = survived and same(outcome(work / f'whole_{size}'), outcome(folder))
    found = {
        'trial': number,
        'processes': size,
        'kill': f'{" and ".join(map(str, ranks))} of {size} {what}' if size > 1 else what,
        'seconds': ending,
        'left': ', '.join(left) or 'no checkpoint',
        'unfinished': halves,
        'survived': survived,
        'equal': equal,
    }
    if equal:
        shutil.rmtree(folder)
        folder.with_suffix('.log').unlink()
    with atomic_file(result) as path:
        path.write_text(json.dumps(found))
    return found


def table(trials: list[dict[str, Any]]) -> str:
    """Write the Markdown table of the trials, and the sums."""
    lines = ['| trial | killed | left behind | unfinished files | survived | equal |', '|---' * 6 + '|']
    for row in trials:
        answers = ' | '.join('yes' if row[name] else 'NO' for name in ('survived', 'equal'))
        lines.append(f'| {row["trial"]} | {row["kill"]} | {row["left"]} | {row["unfinished"]} | {answers} |')
    lines += [
        '',
        '| processes | trials | while writing a file | begun epoch left | all ended within | survived | equal |',
        '|---' * 7 + '|',
    ]
    for size in (1, 2):
        rows = [row for row in trials if row['processes'] == size]
        sums = [sum(map(bool, values)) for values in zip(*(counts(row) for row in rows), strict=True)]
        slowest = max((row['seconds'] for row in rows), default=0.0)
        writing, within, survived, equal = sums or [0] * 4
        lines.append(
            f'| {size} | {len(rows)} | {writing} | {within} | {slowest:.1f} s | {survived} | {equal} |'
        )
    return '\n'.join(lines)


def counts(row: dict[str, Any]) -> tuple[bool, ...]:
    """Return what is counted of a trial."""
    return row['unfinished'] > 0, 'within_epoch' in row['left'], row['survived'], row['equal']


def prepared(work_dir: Path) -> Path:
    """Make the folder and the images, and let this process be forked; returns the folder."""
    os.environ['CUDA_VISIBLE_DEVICES'] = ''
    # What takes seconds to import is there when the processes are forked.
    import numba  # noqa: F401
    import torch
    import torch.utils.tensorboard

    import glc.apis.build
    import glc.engine
    import glc.evaluation
    import glc.models
    import glc.visualization  # noqa: F401
    from glc.datasets import SyntheticSpec, make_synthetic

    work = work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    make_synthetic(work / 'images', SyntheticSpec(**IMAGES), workers=1)
    gc.collect()
    gc.freeze()  # forked processes need not look at what this one has
    atexit.register(gc.unfreeze)
    return work


def main() -> int:
    """Run the trials that are left, and print the table."""
    args = parse_args()
    work = prepared(args.work_dir)
    print('the uninterrupted trainings ...', flush=True)
    wholes = {size: uninterrupted(work, size) for size in (1, 2)}
    run = partial(trial, work, args.seed, wholes)
    trials = list(tqdm(map(run, range(args.trials)), 'trials', args.trials, disable=None))
    print(table(trials))
    return int(not all(row['equal'] for row in trials))


if __name__ == '__main__':
    sys.exit(main())
