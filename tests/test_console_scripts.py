"""The console scripts of pyproject.toml: all are there, and tell how they are used without a second of imports."""

import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['scripts']
HEAVY = {'torch', 'mmengine', 'sklearn', 'faiss', 'networkit', 'numba', 'timm', 'matplotlib', 'scipy', 'cv2'}

LOAD = f"""
import importlib, sys
def loaded():
    return sorted({HEAVY!r} & set(sys.modules))
import glc
assert not loaded(), f'import glc loads {{loaded()}}'
for script, place in {SCRIPTS!r}.items():
    module, name = place.split(':')
    try:
        getattr(importlib.import_module(module), name)(['--help'])
    except SystemExit as end:
        assert end.code == 0
    assert not loaded(), f'{{script}} --help loads {{loaded()}}'
"""


def test_the_usual_scripts_are_there():
    assert {'glc-train', 'glc-test', 'glc-extract', 'glc-cluster', 'glc-report'} <= set(SCRIPTS)
    assert all(name.startswith('glc-') for name in SCRIPTS)


@pytest.mark.parametrize('script', SCRIPTS)
def test_help_has_an_example(script, capsys, monkeypatch):
    module, name = SCRIPTS[script].split(':')
    monkeypatch.setattr(sys, 'argv', [script])
    with pytest.raises(SystemExit) as end:
        getattr(import_module(module), name)(['--help'])
    assert end.value.code == 0
    usage, _, example = capsys.readouterr().out.partition('example')
    assert usage.startswith(f'usage: {script} ')
    assert f'\n  {script} ' in example


def test_neither_import_nor_help_load_heavy_libraries():
    done = subprocess.run([sys.executable, '-c', LOAD], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('name', ['train', 'test'])
def test_tools_of_the_checkout_are_the_same_commands(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [f'{name}.py', '--help'])
    code = compile((ROOT / f'tools/{name}.py').read_text(), str(ROOT / f'tools/{name}.py'), 'exec')
    with pytest.raises(SystemExit):
        exec(code, {'__name__': '__main__', '__file__': str(ROOT / f'tools/{name}.py')})
    assert f'glc-{name} vit_s_market_usl' in capsys.readouterr().out
