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
COMMANDS = sorted(
    path
    for path in Path(glc.cli.__file__).parent.glob('[!_]*.py')
    if 'ArgumentParser(' in path.read_text() or 'epilog' in path.read_text()
)
SCRIPTS = sorted(path for path in (ROOT / 'tools').glob('*.sh') if not path.name.startswith('_'))


@pytest.mark.parametrize('path', [*TOOLS, *COMMANDS], ids=lambda path: path.relative_to(ROOT).as_posix())
def test_help_has_an_example(path, monkeypatch, capsys):
    if 'import cosmic_ray' in path.read_text() or 'from cosmic_ray' in path.read_text():
        pytest.importorskip('cosmic_ray')
    monkeypatch.setattr(sys, 'argv', [str(path), '--help'])
    if path in TOOLS:  # as Python does for a script
        monkeypatch.syspath_prepend(path.parent)
    with pytest.raises(SystemExit) as ended:
        if path in TOOLS:
            runpy.run_path(str(path), run_name='__main__')
        else:
            importlib.import_module(f'glc.cli.{path.stem}').main(['--help'])
    assert not ended.value.code
    usage, _, rest = capsys.readouterr().out.partition('\n\n')
    assert usage.startswith('usage:')
    assert re.search(r'(python tools/\S+\.py|\bglc-[a-z-]+)( +\S|$)', rest, re.MULTILINE)


@pytest.mark.parametrize('path', SCRIPTS, ids=lambda path: path.name)
def test_script_has_an_example(path):
    done = subprocess.run(['bash', path, '--help'], capture_output=True, text=True, check=False)
    assert re.search(rf'bash tools/{path.name} \S|instance: \S', done.stdout + done.stderr)
