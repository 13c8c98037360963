"""Try the lowest and the highest versions of the requirements under every Python, with and without faiss.

    pip install uv
    python tools/dev/compatibility.py                                   # six environments, two runs in each
    python tools/dev/compatibility.py --python 3.11 --versions lowest

``lowest`` are the lower bounds of requirements/*.txt; where a bound has no wheel for a Python, the next version that
has one. ``highest`` is the newest of everything. uv makes each environment below ``--folder``, and it is removed at the
end. Both runs of it are a selection of the tests (without faiss those of the neighbor search), and a drawn data set
with two epochs of training and a test on it, by the command lines. Prints a Markdown table; the exit status is 1 where
something failed. The output is kept in ``--folder``.

The Pythons have to be installed: uv finds those of pyenv too. Six environments take 12 GB of downloads, and 40 minutes
on two cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ['requirements/runtime.txt', 'requirements/cpu.txt']
PACKAGES = [
    'torch',
    'torchvision',
    'timm',
    'numpy',
    'scipy',
    'scikit-learn',
    'numba',
    'networkit',
    'mmengine',
    'mmcv-lite',
    'opencv-python',
    'pillow',
    'faiss-cpu',
]
TESTS = [
    'tests/test_checkpoints/test_loading.py',
    'tests/test_core/test_clusterers',
    'tests/test_core/test_neighbors/test_knn.py',
    'tests/test_datasets/test_transforms.py',
    'tests/test_evaluation',
    'tests/test_models/test_backbones.py',
]
SECONDS = 1200  # of a command
SEARCH = ['tests/test_core/test_neighbors/test_knn.py']  # all that faiss is for
CONFIG = 'configs/glc/demo_synthetic.py'
OPTIONS = [
    *(f'{part}_dataloader.dataset.data_root={{images}}' for part in ('train', 'val', 'test')),
    *(f'{part}_dataloader.num_workers=1' for part in ('train', 'val', 'test')),
    'train_dataloader.batch_size=16',
    'train_dataloader.sampler.num_ids=4',
    'train_dataloader.sampler.num_instances=4',
    'train_dataloader.sampler.iterations=2',
    'model.bn_group_size=16',
    'train_cfg.max_epochs=2',
]


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--python', nargs='+', default=['3.11', '3.12', '3.13'], metavar='X.Y')
    parser.add_argument('--versions', nargs='+', default=['lowest', 'highest'], choices=('lowest', 'highest'))
    parser.add_argument(
        '--folder', type=Path, default=Path('work_dirs/compatibility'), help='default: %(default)s'
    )
    parser.add_argument('--uv', default='uv', help='the program uv (default: %(default)s)')
    return parser.parse_args()


def run(command: list[str], log: Path) -> tuple[bool, str]:
    """Run a command in the checkout; return whether it succeeded, and its output, which is added to a log."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''}
    with log.open('a') as file:
        file.write(f'+ {" ".join(command)}\n')
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
            )
        except subprocess.TimeoutExpired:
            file.write(f'stopped after {SECONDS} s\n')
            return False, ''
        file.write(f'{done.stdout}\n')
    return done.returncode == 0, done.stdout


def install(uv: str, environment: Path, python: str, versions: str, log: Path) -> bool:
    """Make an environment."""
    pip = [uv, 'pip', 'install', '--python', str(environment), '--only-binary', ':all:']
    files = [part for name in REQUIREMENTS for part in ('-r', name)]
    resolution = 'lowest-direct' if versions == 'lowest' else 'highest'
    commands = [
        [uv, 'venv', '--clear', '--python', python, str(environment)],
        [*pip, '--resolution', resolution, *files],
        [*pip, 'pytest', 'hypothesis'],
    ]
    if not all(run(command, log)[0] for command in commands):
        return False
    if not run([str(environment / 'bin/python'), '-c', 'import cv2'], log)[
        0
    ]:  # no libGL: as tools/_env.sh does
        headless = f'opencv-python-headless=={installed(uv, environment, log)["opencv-python"]}'
        remove = [uv, 'pip', 'uninstall', '--python', str(environment), 'opencv-python']
        return run(remove, log)[0] and run([*pip, headless], log)[0]
    return True


def installed(uv: str, environment: Path, log: Path) -> dict[str, str]:
    """Return the versions of the packages in an environment."""
    lines = run([uv, 'pip', 'freeze', '--python', str(environment)], log)[1].splitlines()
    pairs = (line.split('==') for line in lines if '==' in line)
    return {name.removesuffix('-headless'): version for name, version in pairs}


def try_out(environment: Path, tests: list[str], scratch: Path, log: Path) -> list[str]:
    """Run tests and a training; return the cells of the table."""
    python = str(environment / 'bin/python')
    quick = ['-q', '-p', 'no:cacheprovider', '-m', 'not slow and not distributed']
    _, output = run([python, '-m', 'pytest', *quick, *tests], log)
    images, work_dir = scratch / 'images', scratch / 'run'
    counts = {
        'train-ids': 12,
        'train-images': 6,
        'test-ids': 6,
        'test-images': 4,
        'distractors': 2,
        'junk': 2,
    }
    draw = [part for name, count in counts.items() for part in (f'--{name}', str(count))]
    options = [
        '--work-dir',
        str(work_dir),
        '--cfg-options',
        *(text.format(images=images) for text in OPTIONS),
    ]
    commands = [
        ['tools/dataset_tools/make_synthetic.py', '--out', str(images), *draw],
        ['tools/train.py', CONFIG, *options],
        ['tools/test.py', CONFIG, str(work_dir / 'epoch_2.pth'), *options],
    ]
    failed = next((command[0] for command in commands if not run([python, *command], log)[0]), None)
    shutil.rmtree(scratch, ignore_errors=True)
    # Not the last line: libraries may print something when the process ends.
    closing = re.findall(
        r'^(?:=+ )?(\d+ (?:passed|failed|skipped|errors?)\b.*) in [\d.]+s', output, re.MULTILINE
    )
    found = re.findall(r'\d+ (?:passed|failed|skipped|errors?)', closing[-1] if closing else '')
    return [', '.join(found) or 'did not run', f'{failed} failed' if failed else 'passed']


def main() -> int:
    """Make the environments one by one, and print a row for every run."""
    args = parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print('| Python | versions | faiss | tests | training and test | minutes |\n|---|---|---|---|---|---|')
    good, notes = True, []
    for python in args.python:
        for versions in args.versions:
            environment, log = folder / f'{python}-{versions}', folder / f'{python}-{versions}.log'
            log.unlink(missing_ok=True)
            passed = install(args.uv, environment, python, versions, log)
            packages = installed(args.uv, environment, log)
            for faiss in (True, False) if passed else ():
                begin = time.monotonic()
                if not faiss:
                    run([args.uv, 'pip', 'uninstall', '--python', str(environment), 'faiss-cpu'], log)
                tests = TESTS if faiss else SEARCH
                cells = try_out(environment, tests, folder / f'{python}-{versions}-scratch', log)
                passed = passed and 'passed' in cells[0] and 'failed' not in ' '.join(cells)
                passed = passed and 'error' not in cells[0]
                row = [python, versions, packages['faiss-cpu'] if faiss else 'none', *cells]
                print('| ' + ' | '.join([*row, f'{(time.monotonic() - begin) / 60:.1f}']) + ' |', flush=True)
            if not passed:
                print(f'\nFAILED: {python} {versions}: see {log}\n', flush=True)
                good = False
            notes.append(
                f'- {python} {versions}: '
                + ', '.join(f'{name} {packages[name]}' for name in PACKAGES if name in packages)
            )
            shutil.rmtree(environment, ignore_errors=True)
    print('\n' + '\n'.join(notes))
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
