"""The help of every tool has a command to copy."""

import importlib
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

import glc.cli

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted(path for path in (ROOT / 'tools').rglob('*.py') if 'ArgumentParser(' in path.read_text())
COMMANDS = sorted(path.stem for path in Path(glc.cli.__file__).parent.glob('[!_]*.py'))
SCRIPTS = sorted(path for path in (ROOT / 'tools').glob('*.sh') if not path.name.startswith('_'))


EXAMPLE = re.compile(r'(python tools/\S+\.py|\bglc-[a-z-]+)( +\S|$)', re.MULTILINE)


@pytest.mark.parametrize('path', TOOLS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_help_of_a_tool_has_an_example(path, monkeypatch, capsys):
    if 'from cosmic_ray' in path.read_text():
        pytest.importorskip('cosmic_ray')
    monkeypatch.setattr(sys, 'argv', [str(path), '--help'])
    monkeypatch.syspath_prepend(path.parent)  # as Python does for a script
    with pytest.raises(SystemExit, match=r'^0$'):
        runpy.run_path(str(path), run_name='__main__')
    assert EXAMPLE.search(capsys.readouterr().out.partition('\n\n')[2])


@pytest.mark.parametrize('name', COMMANDS)
def test_the_help_of_a_command_has_an_example(name, capsys):
    main = importlib.import_module(f'glc.cli.{name}').main
    with pytest.raises(SystemExit, match=r'^0$'):
        main(['--help'])
    assert EXAMPLE.search(capsys.readouterr().out.partition('\n\n')[2])


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_script_has_an_example(path):
    done = subprocess.run(['bash', path, '--help'], capture_output=True, text=True, check=False)
    assert re.search(rf'bash tools/{path.name} \S|instance: \S', done.stdout + done.stderr)
