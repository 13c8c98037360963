import os
import shutil
import subprocess

import mmengine
import numpy as np
import pytest
import torch

import glc
from glc.utils import versions


def test_versions_in_one_line(monkeypatch):
    line = versions.versions()
    assert line.startswith(f'glc {glc.__version__}')
    for part in (f'torch {torch.__version__}', f'mmengine {mmengine.__version__}', 'numpy ', 'Python 3.'):
        assert f', {part}' in line
    assert '\n' not in line
    monkeypatch.setattr(versions, '_PACKAGES', ('numpy', 'never-published-package'))
    assert versions.versions().endswith(f', numpy {np.__version__}')


def test_revision_of_a_checkout(tmp_path, monkeypatch):
    if shutil.which('git') is None:
        pytest.skip('git is not installed')
    (tmp_path / 'glc').mkdir()
    code = tmp_path / 'glc/__init__.py'
    code.write_text('')
    monkeypatch.setattr(glc, '__file__', str(code))
    assert versions._revision() == ''

    def git(*arguments):
        author = ('-c', 'user.name=a', '-c', 'user.email=a@b')
        return subprocess.check_output(['git', '-C', tmp_path, *author, *arguments], text=True).strip()

    git('init', '-q')
    assert versions._revision() == ''  # nothing is committed
    git('add', '.')
    git('commit', '-q', '-m', 'first')
    revision = git('rev-parse', '--short=10', 'HEAD')
    os.utime(code, (1, 1))  # git would look again, and note that in its index
    index = (tmp_path / '.git/index').read_bytes()
    assert versions._revision() == f' (git {revision})'
    assert (tmp_path / '.git/index').read_bytes() == index
    code.write_text('changed = True')
    assert versions._revision() == f' (git {revision}-dirty)'
    monkeypatch.setenv('PATH', '')
    assert versions._revision() == ''
