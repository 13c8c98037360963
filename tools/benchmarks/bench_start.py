"""Seconds of CPU until a command answers: ``import glc``, and ``--help`` of every console script.

    python tools/benchmarks/bench_start.py

Each line is a process of its own, the fastest of ``--repeats``. The baseline, in the same run, imports what every
training imports.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

ROOT = Path(__file__).resolve().parents[2]
BASELINE = 'import torch, mmengine.runner'


def children() -> float:
    """Seconds of CPU, user and system, of the processes that ended."""
    usage = getrusage(RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def seconds_of(code: str) -> float:
    """Seconds of CPU that a new Python takes for some code."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    before = children()
    subprocess.run([sys.executable, '-c', code], env=environment, stdout=subprocess.DEVNULL, check=True)
    return children() - before


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--repeats', type=int, default=3, metavar='N', help='processes per line (default: 3)')
    repeats = parser.parse_args().repeats
    scripts = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['scripts']
    codes = {'Python alone': 'pass', BASELINE: BASELINE, 'import glc': 'import glc'}
    for script, place in scripts.items():
        module, function = place.split(':')
        codes[f'{script} --help'] = f'from {module} import {function}; {function}(["--help"])'
    print('| | CPU seconds |\n|---|---|')
    for name, code in codes.items():
        print(f'| `{name}` | {min(seconds_of(code) for _ in range(repeats)):.3f} |', flush=True)


if __name__ == '__main__':
    main()
