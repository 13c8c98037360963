"""The command-line tools of the data sets."""

import runpy
import sys
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import pytest

from glc.datasets import SyntheticSpec

from .layouts import write_cuhk03, write_image, write_market, write_market_like, write_msmt

TOOLS = Path(__file__).parents[2] / 'tools' / 'dataset_tools'


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a tool as a command line would, in this process."""

    def call(tool, *arguments):
        path = str(TOOLS / f'{tool}.py')
        monkeypatch.setattr(sys, 'argv', [path, *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(path, run_name='__main__')
        return Result(caught.value.code, *capsys.readouterr())

    return call


def test_the_numbers_of_a_drawing_have_the_defaults_of_its_class():
    numbers = runpy.run_path(str(TOOLS / 'make_synthetic.py'))['NUMBERS']
    assert {name: default for name, (default, _) in numbers.items()} == asdict(SyntheticSpec())


@pytest.mark.slow
def test_make_then_verify(run, tmp_path):
    make = (
        'make_synthetic',
        '--out',
        tmp_path / 'data',
        '--workers',
        1,
        '--train-ids',
        2,
        '--train-images',
        4,
    )
    make += ('--test-ids', 2, '--test-images', 4, '--distractors', 1, '--junk', 1)
    first, second = run(*make), run(*make)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert 'drew the data set' in first.stdout
    assert 'nothing to do' in second.stdout
    other = run(*make, '--seed', 5)
    assert other.returncode == 1
    assert 'another synthetic data set' in other.stderr

    verified = run('verify_dataset', 'syntheticreid', tmp_path / 'data')
    assert verified.returncode == 0, verified.stdout
    rows = [line.split() for line in verified.stdout.splitlines()[2:]]
    assert rows[0] == ['train', '8', '2', rows[0][3], '0', '0', f'8/2/{rows[0][3]}', 'ok']
    assert [row[0] for row in rows] == ['train', 'query', 'gallery']
    assert rows[2][4:6] == ['1', '1']

    first, *_, last = sorted((tmp_path / 'data/bounding_box_train').iterdir())
    last.write_bytes(first.read_bytes())
    assert run('verify_dataset', 'syntheticreid', tmp_path / 'data').returncode == 0
    checked = run('verify_dataset', 'syntheticreid', tmp_path / 'data', '--content')
    assert checked.returncode == 1
    assert 'two identities' in checked.stdout


@pytest.mark.parametrize(
    ('name', 'write', 'said'),
    [
        ('market1501', write_market, ('12,936/751/6', 'incomplete', 'PPPP_cCsS_FFFFFF_DD.jpg')),
        ('MSMT17', write_msmt, ('MSMT17_V1', '32,621/1,041/15', 'incomplete')),
        ('luperson', lambda root: None, ('missing', 'images/*.jpg')),
        ('veri776', lambda root: write_market_like(root, 'VeRi776'), ('37,778/576/20', '1,678/200/?')),
        (
            'occludedduke',
            lambda root: write_market_like(root, 'OccludedDuke'),
            ('15,618/702/8', '2,210/519/8'),
        ),
        ('cuhk03', write_cuhk03, ('CUHK03 (detected boxes)', '7,365/767/2', '1,400/700/2', '5,332/700/2')),
        (
            'market1501',
            lambda root: write_market(root / 'inner'),
            ('missing', "/inner': set data_root to it"),
        ),
    ],
)
def test_verify_says_what_is_missing(run, tmp_path, name, write, said):
    write(tmp_path)
    result = run('verify_dataset', name, tmp_path)
    assert result.returncode == 1
    for text in said:
        assert text in result.stdout


def test_verify_a_plain_folder(run, tmp_path):
    write_image(tmp_path / 'door' / '1.jpg')
    result = run('verify_dataset', 'imagefolderreid', tmp_path, '--options', 'pattern=(?P<cam>\\w+)/')
    assert result.returncode == 0
    assert result.stdout.splitlines()[2].split()[:4] == ['train', '1', '0', '1']


def test_verify_an_unknown_name(run, tmp_path):
    result = run('verify_dataset', 'nonsense', tmp_path)
    assert result.returncode == 2
    for name in ('Market1501', 'DukeMTMCreID', 'OccludedDuke', 'VeRi776', 'PersonX', 'CUHK03', 'MSMT17'):
        assert name in result.stderr
    assert 'ConcatDataset' not in result.stderr
