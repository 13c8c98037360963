"""The shell scripts: their environment is complete or made again, and mistakes are explained."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [*sorted((ROOT / 'tools').glob('*.sh')), ROOT / '.ci' / 'run']

# A Python whose venv and pip only leave traces; everything else is the real one.
FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
    '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
    '-m pip '*) echo "$*" >>"{log}"; [[ ! -e "{broken}" ]] ;;
    '-c import cv2'*) ;;
    *) exec "{python}" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with the scripts and requirements only, beside a fake Python."""
    root = tmp_path / 'checkout'
    shutil.copytree(ROOT / 'requirements', root / 'requirements')
    (root / 'tools').mkdir()
    shutil.copy(ROOT / 'tools/_env.sh', root / 'tools')
    fake = tmp_path / 'python'
    fake.write_text(
        FAKE_PYTHON.format(log=tmp_path / 'pip.log', broken=tmp_path / 'broken', python=sys.executable)
    )
    fake.chmod(0o755)
    return root


def make_environment(checkout: Path, argument: str = '', env_dir: Path | None = None) -> tuple[int, str, int]:
    """Exit status, output, and number of pip installs of ``glc_environment``."""
    base = checkout.parent
    log = base / 'pip.log'
    log.write_text('')
    source = f'set -euo pipefail; source "{checkout}/tools/_env.sh"'
    script = f'{source}; glc_environment {argument}; echo "at $GLC_PYTHON"'
    done = subprocess.run(
        ['bash', '-c', script],
        env={
            'PATH': '/usr/bin:/bin',
            'HOME': str(base),
            'PYTHON': str(base / 'python'),
            'GLC_ENV_DIR': str(env_dir or base / 'env'),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, log.read_text().count(' install ')


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_script_parses(script):
    subprocess.run(['bash', '-n', script], check=True)


def test_environment_is_made_once_and_completed_for_the_tests(checkout):
    status, output, installs = make_environment(checkout)
    assert (status, installs) == (0, 1), output
    assert f'at {checkout.parent}/env/bin/python' in output
    assert make_environment(checkout)[2] == 0
    assert make_environment(checkout, 'tests')[2] == 1
    assert make_environment(checkout, 'tests')[2] == 0


def test_interrupted_installation_is_made_again(checkout):
    broken = checkout.parent / 'broken'
    broken.touch()
    status, output, _ = make_environment(checkout)
    assert status != 0
    assert 'FAILED: installing the requirements' in output
    assert str(checkout.parent / 'env.log') in output
    leftover = checkout.parent / 'env' / 'leftover'
    leftover.touch()
    broken.unlink()
    assert make_environment(checkout)[::2] == (0, 1)
    assert not leftover.exists()


def test_changed_requirements_make_a_new_environment(checkout):
    make_environment(checkout, 'tests')
    with (checkout / 'requirements' / 'runtime.txt').open('a') as file:
        file.write('einops\n')
    assert make_environment(checkout, 'tests')[::2] == (0, 2)


def test_foreign_folder_is_refused_and_kept(checkout):
    foreign = checkout.parent / 'foreign'
    foreign.mkdir()
    (foreign / 'thesis.tex').touch()
    status, output, installs = make_environment(checkout, env_dir=foreign)
    assert (status, installs) == (1, 0)
    assert 'was not made by this script' in output
    assert (foreign / 'thesis.tex').exists()


@pytest.mark.parametrize('script', ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh'])
def test_launchers_explain_missing_arguments(script):
    done = subprocess.run(['bash', ROOT / 'tools' / script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f'bash tools/{script}' in done.stderr


def test_several_machines_need_a_common_port():
    done = subprocess.run(
        ['bash', ROOT / 'tools/dist_train.sh', 'config.py', '2'],
        env={'PATH': '/usr/bin:/bin', 'NNODES': '2'},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'MASTER_PORT' in done.stderr
