"""The console scripts of pyproject.toml are all there; no command line takes a second of imports for its help."""

import subprocess
import sys
import tomllib
from importlib import import_module

import pytest

from tests.test_tools_help import COMMANDS, ROOT, TOOLS

SCRIPTS = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']['scripts']
HEAVY = {'torch', 'mmengine', 'sklearn', 'faiss', 'networkit', 'numba', 'timm', 'matplotlib', 'scipy', 'cv2'}

# Tools of those who work on this project may take their time; the benchmarks among them are full of networks.
NETWORKS = ('bench_data', 'bench_memory', 'bench_scaling', 'bench_step', 'soak')
QUICK = [
    str(path)
    for path in TOOLS
    if path.parent.name not in ('docs', 'dev') and not path.stem.startswith(('_', *NETWORKS))
]
LOAD = f"""
import importlib, os, runpy, sys
def check(what, step):
    try:
        step()
    except SystemExit as end:
        assert end.code == 0
    loaded = sorted({HEAVY!r} & set(sys.modules))
    assert not loaded, f'{{what}} loads {{loaded}}'
check('import glc', lambda: importlib.import_module('glc'))
for name in {COMMANDS!r}:
    check(name, lambda: importlib.import_module(f'glc.cli.{{name}}').main(['--help']))
for path in {QUICK!r}:
    sys.argv, sys.path[0] = [path, '--help'], os.path.dirname(path)
    check(path, lambda: runpy.run_path(path, run_name='__main__'))
"""


def test_the_usual_scripts_are_there():
    assert {'glc-train', 'glc-test', 'glc-extract', 'glc-cluster', 'glc-report'} <= set(SCRIPTS)
    assert all(name.startswith('glc-') for name in SCRIPTS)
    assert {place.split(':')[0] for place in SCRIPTS.values()} <= {f'glc.cli.{name}' for name in COMMANDS}
    assert len(QUICK) > 15


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_command_line_ends_silently():
    """Where modules stay frozen, triton reports leaks when the program ends."""
    code = 'from glc.cli._common import import_everything; import_everything()'
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ('', '')
