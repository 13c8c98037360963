"""tools/run_tests.sh gives pytest what its first lines say."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# A Python that only writes down the modules which it is told to run; everything else is the real one.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$1 $2" in
    '-m venv') mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    '-m pip' | '-c import cv2'* | '-c from torch'*) ;;
    '-m '*) printf '%q ' "${{@:2}}" >>{log}; echo >>{log} ;;
    *) exec {python} "$@" ;;
esac
"""
SPREAD = ['--numprocesses', 'logical', '--maxprocesses', '4', '--dist', 'loadfile', '--no-loadscope-reorder']
FAST = ['-m', 'not slow and not distributed']


@pytest.mark.slow
@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ([], SPREAD),
        (['--fast'], [*FAST, *SPREAD]),
        (['-k', 'a or b', '-x'], ['-k', 'a or b', '-x']),
        (['--fast', 'tests/test_core'], [*FAST, 'tests/test_core']),
    ],
    ids=' '.join,
)
def test_arguments_of_pytest(tmp_path, arguments, expected):
    for name in ('requirements', 'tools'):
        shutil.copytree(ROOT / name, tmp_path / name)
    fake, log = tmp_path / 'python', tmp_path / 'log'
    fake.write_text(FAKE_PYTHON.format(log=shlex.quote(str(log)), python=shlex.quote(sys.executable)))
    fake.chmod(0o755)
    subprocess.run(
        ['bash', tmp_path / 'tools' / 'run_tests.sh', *arguments],
        env={'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path), 'PYTHON': str(fake)},
        check=True,
    )
    *checks, tests = map(shlex.split, log.read_text().splitlines())
    assert checks == [['ruff', 'check', '.'], ['ruff', 'format', '--check', '.'], ['mypy']]
    assert tests == ['pytest', *expected]
