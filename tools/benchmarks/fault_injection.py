"""Kill a small training at random moments, resume it, and compare it with one that was never killed.

    python tools/benchmarks/fault_injection.py                    # 50 trials
    python tools/benchmarks/fault_injection.py --trials 5 --seed 1

Every trial starts ``tools/train.py`` on drawn images (three epochs with labels, checkpoints and evaluations), ends it
by SIGKILL, and starts it once more with ``--resume``. In every third trial the kill comes while a file is being
written: the process is stopped when an unfinished file is seen, and killed if that is still there. The other moments
are anywhere in the run, its start included.

A trial has survived if the training comes to its end, and is equal if all checkpoints that it leaves have the same
weights, optimizer, labels and scores as those of the uninterrupted run, bit for bit.

A trial takes about 20 s on a free core, 50 of them 15 to 20 minutes; more where the cores are shared. What is done is
kept: run it again to go on. The exit status is 1 where a trial failed.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'analysis_tools'))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from print_curves import read_epochs
from tqdm import tqdm

from glc.utils.files import atomic_file, unfinished_files

ROOT = Path(__file__).resolve().parents[2]
CONFIG = 'configs/cluster_contrast/demo_synthetic.py'
EPOCHS = 3
SCORES = ['reid/mAP', 'reid/rank1']
IMAGES = {'train_ids': 12, 'train_images': 6, 'test_ids': 6, 'test_images': 4, 'distractors': 2, 'junk': 2}
OPTIONS = [
    'train_dataloader.batch_size=16',
    'train_dataloader.sampler.num_ids=4',
    'train_dataloader.sampler.num_instances=4',
    'train_dataloader.sampler.iterations=4',
    'model.bn_group_size=16',
    'default_hooks.pseudo_label.labeler.k1=8',
    'default_hooks.pseudo_label.labeler.min_samples=2',
    'default_hooks.pseudo_label.num_workers=1',
    # The last epoch has the labels of the checkpoint before it.
    f'default_hooks.pseudo_label.frozen_epochs=[{EPOCHS - 1}]',
    'default_hooks.logger.interval=1',
    f'train_cfg.max_epochs={EPOCHS}',
    'train_cfg.val_interval=1',
]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--trials', type=int, default=50, help='default: %(default)s')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: %(default)s)')
    parser.add_argument('--jobs', type=int, default=1, help='trials at the same time (default: %(default)s)')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/fault_injection'), help='default: %(default)s'
    )
    return parser.parse_args()


def start(work: Path, folder: Path) -> subprocess.Popen:
    """Start a training, or go on with it; its output is added to a file beside the folder."""
    options = [*OPTIONS]
    for loader in ('train', 'val', 'test'):
        options += [
            f'{loader}_dataloader.dataset.data_root={work / "images"}',
            f'{loader}_dataloader.num_workers=1',
        ]
    command = [sys.executable, 'tools/train.py', CONFIG, '--work-dir', str(folder), '--resume']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    with folder.with_suffix('.log').open('a') as log:
        return subprocess.Popen(
            [*command, '--cfg-options', *options],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def after(seconds: float, process: subprocess.Popen) -> None:
    """Wait, and kill."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()


def while_writing(folder: Path, number: int, process: subprocess.Popen) -> None:
    """Kill while the file of this number since the start, from 1, is being written; or one after it."""
    seen: set[Path] = set()
    while process.poll() is None:
        files = set(unfinished_files(folder / '*.pth') + unfinished_files(folder / 'last_checkpoint'))
        seen |= files
        if files and len(seen) >= number:
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)  # until it stands still
            if any(path.exists() for path in files):
                process.kill()
                return
            process.send_signal(signal.SIGCONT)
        time.sleep(0.001)


def killed(work: Path, folder: Path, kill: Callable[[subprocess.Popen], None]) -> bool:
    """Start a training and kill it; False where it ended before that."""
    process = start(work, folder)
    try:
        kill(process)
        return process.wait() == -signal.SIGKILL
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


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


def uninterrupted(work: Path) -> dict[str, Any]:
    """Run the training that is never killed, once; returns its seconds and how many checkpoint files it writes."""
    result = work / 'whole.json'
    if not result.is_file():
        folder = work / 'whole'
        shutil.rmtree(folder, ignore_errors=True)
        begin = time.time()
        process = start(work, folder)
        files: set[Path] = set()
        while process.poll() is None:
            files |= set(unfinished_files(folder / '*.pth'))
            time.sleep(0.001)
        if process.returncode:
            raise RuntimeError(f"the uninterrupted training failed, see '{folder.with_suffix('.log')}'")
        seconds = time.time() - begin
        with atomic_file(result) as path:
            path.write_text(json.dumps({'seconds': seconds, 'files': len(files), 'code': code()}))
    whole = json.loads(result.read_text())
    if whole['code'] != code():
        raise RuntimeError(f"'{work}' was made with other code: delete it, or take another --work-dir")
    return whole


def trial(work: Path, seed: int, whole: dict[str, Any], number: int) -> dict[str, Any]:
    """Kill, resume and compare; what is known from an earlier call is read."""
    result = work / f'seed_{seed}' / f'{number:03}.json'
    if result.is_file():
        return json.loads(result.read_text())
    folder = result.with_suffix('')
    writing = number % 3 == 0
    attempt, was_killed = 0, False
    while not was_killed:
        rng = np.random.default_rng((seed, number, attempt))
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix('.log').unlink(missing_ok=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if writing:
            moment = int(rng.integers(1, max(int(whole['files']), 1) + 1))
            what = f'while writing file {moment}'
            kill = partial(while_writing, folder, moment)
        else:
            # A run that had ended before its kill was faster than the uninterrupted one: look in half the time.
            seconds = float(rng.uniform(0, whole['seconds'] / 2**attempt))
            what = f'after {seconds:.2f} s'
            kill = partial(after, seconds)
        was_killed = killed(work, folder, kill)
        attempt += 1
    left = [path.name for path in complete(folder)]
    halves = len(unfinished_files(folder / '*.pth') + unfinished_files(folder / 'last_checkpoint'))
    survived = start(work, folder).wait() == 0
    equal = survived and same(outcome(work / 'whole'), outcome(folder))
    found = {
        'trial': number,
        'kill': what,
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
    """Write the Markdown table of the trials, and the sum."""
    lines = ['| trial | killed | left behind | unfinished files | survived | equal |', '|---' * 6 + '|']
    for row in trials:
        answers = ' | '.join('yes' if row[name] else 'NO' for name in ('survived', 'equal'))
        lines.append(f'| {row["trial"]} | {row["kill"]} | {row["left"]} | {row["unfinished"]} | {answers} |')
    survived, equal = (sum(row[name] for row in trials) for name in ('survived', 'equal'))
    lines += ['', f'killed while a file was being written: {sum(row["unfinished"] > 0 for row in trials)}']
    lines += [f'survived: {survived} / {len(trials)}']
    lines += [f'survived / resumed bit for bit: {equal} / {len(trials)}']
    return '\n'.join(lines)


def main() -> int:
    """Run the trials that are left, and print the table."""
    args = parse_args()
    from glc.datasets import SyntheticSpec, make_synthetic  # after --help: it takes seconds

    work = args.work_dir.resolve()
    work.mkdir(parents=True, exist_ok=True)
    make_synthetic(work / 'images', SyntheticSpec(**IMAGES), workers=1)
    print('the uninterrupted training ...', flush=True)
    whole = uninterrupted(work)
    run = partial(trial, work, args.seed, whole)
    with ThreadPoolExecutor(args.jobs) as pool:
        trials = list(tqdm(pool.map(run, range(args.trials)), 'trials', args.trials, disable=None))
    print(table(trials))
    return int(not all(row['equal'] for row in trials))


if __name__ == '__main__':
    sys.exit(main())
