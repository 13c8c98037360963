"""Compiled functions work whatever state numba's cache is in."""

import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import glc

KERNEL = """
import numpy as np
from glc.core.compiled import compiled

@compiled()
def weighted(values):
    total = 0.0
    for value in values:
        total += value * np.exp(value)
    return total
"""
VALUES = np.linspace(0, 1, 5)
EXPECTED = float((VALUES * np.exp(VALUES)).sum())
_LOADS = count()


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module with a compiled function, in a folder of its own."""
    monkeypatch.delenv('NUMBA_CACHE_DIR', raising=False)
    path = tmp_path / 'kernels.py'
    path.write_text(KERNEL)
    return path


def load(path: Path):
    """The compiled function, as in a new process."""
    spec = importlib.util.spec_from_file_location(f'kernels_{next(_LOADS)}', path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded.weighted


def files(path: Path) -> dict[str, Path]:
    """The files of the cache by ending: index, code, and checksum."""
    return {
        file.suffix: file
        for file in (path.parent / '__pycache__').iterdir()
        if file.suffix in ('.nbi', '.nbc', '.sha256')
    }


def test_a_new_process_takes_what_the_last_one_compiled(module):
    assert load(module)(VALUES) == pytest.approx(EXPECTED)
    before = {
        ending: file.stat().st_mtime_ns for ending, file in files(module).items() if ending != '.sha256'
    }
    assert set(before) == {'.nbi', '.nbc'}
    assert load(module)(VALUES) == pytest.approx(EXPECTED)
    assert before == {ending: files(module)[ending].stat().st_mtime_ns for ending in before}


def zeros_inside(data: bytes) -> bytes:
    """A block that never reached the disk, in the machine code: numba ends the process over it."""
    middle = int(0.7 * len(data))
    return data[:middle] + bytes(64) + data[middle + 64 :]


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['.nbi', '.nbc', '.sha256'])
@pytest.mark.parametrize(
    'damage',
    [
        lambda data: data[: len(data) // 2],
        lambda data: b'',
        lambda data: bytes(len(data)),
        lambda data: b'hello world',
        lambda data: os.urandom(len(data)),
        lambda data: pickle.dumps((1, 2)),
        zeros_inside,
    ],
    ids=['cut', 'empty', 'zeros', 'text', 'random', 'other', 'zeros inside'],
)
def test_damaged_files_are_replaced(module, ending, damage):
    load(module)(VALUES)
    whole = {suffix: file.read_bytes() for suffix, file in files(module).items()}
    files(module)[ending].write_bytes(damage(whole[ending]))
    assert load(module)(VALUES) == pytest.approx(EXPECTED)
    assert set(files(module)) == set(whole)
    times = files(module)['.nbc'].stat().st_mtime_ns
    assert load(module)(VALUES) == pytest.approx(EXPECTED)
    assert files(module)['.nbc'].stat().st_mtime_ns == times  # the second load found whole files


def test_a_file_that_cannot_be_deleted_is_left_alone(module):
    load(module)(VALUES)
    code = files(module)['.nbc']
    code.unlink()
    code.mkdir()
    assert load(module)(VALUES) == pytest.approx(EXPECTED)


def test_a_cache_that_cannot_be_written_after_all(module, monkeypatch):
    function = load(module)

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('os.replace', full)
    assert function(VALUES) == pytest.approx(EXPECTED)
    assert not set(files(module)) & {'.nbc', '.sha256'}


def test_no_folder_can_be_written(module, monkeypatch):
    (module.parent / '__pycache__').touch()
    monkeypatch.setenv('XDG_CACHE_HOME', '/dev/null/cache')
    monkeypatch.setenv('HOME', '/dev/null')
    assert load(module)(VALUES) == pytest.approx(EXPECTED)


def test_errors_of_the_function_are_its_own(module):
    module.write_text(KERNEL.replace('return total', 'raise ValueError("negative")'))
    with pytest.raises(ValueError, match='negative'):
        load(module)(VALUES)


@pytest.mark.slow
def test_the_package_works_where_nothing_can_be_written(tmp_path):
    shutil.copytree(Path(glc.__file__).parent, tmp_path / 'glc', ignore=shutil.ignore_patterns('__pycache__'))
    for folder in ('neighbors', 'clusterers'):
        (tmp_path / 'glc/core' / folder / '__pycache__').touch()
    nowhere = dict(HOME='/dev/null', XDG_CACHE_HOME='/dev/null/cache', PYTHONDONTWRITEBYTECODE='1')
    code = (
        'import numpy as np; from glc import FeatureView, JaccardDBSCAN; '
        'from glc.core.clusterers import RelativeMapEquationClusterer; '
        'view = FeatureView(np.eye(3).repeat(5, 0)); labeler = JaccardDBSCAN(k1=5, k2=2); '
        'others = RelativeMapEquationClusterer()(labeler.distance(view)); '
        'print(labeler(view).tolist(), others.tolist())'
    )
    result = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        env={**os.environ, **nowhere, 'PYTHONPATH': str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    labels = [0] * 5 + [1] * 5 + [2] * 5
    assert result.stdout.split() == f'{labels} {labels}'.split(), result.stderr


def test_compiling_is_announced_once(module, caplog):
    announce = sys.modules['glc.core.compiled']._announce
    announce.cache_clear()
    first = load(module)
    first(VALUES)
    first(VALUES.astype(np.float32))
    (said,) = (record.message for record in caplog.records)
    assert said.startswith('compiling the loops of labelers and scores, which takes some seconds')
    announce.cache_clear()
    load(module)(VALUES)
    assert len(caplog.records) == 1, 'what is kept is not compiled'
