"""The tables of the model zoo are what the metafiles say, and nothing else claims a score."""

import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / 'tools/docs/build_model_zoo.py'
MARKERS = (
    '<!-- model zoo: written by tools/docs/build_model_zoo.py -->\n'
    '<!-- end of model zoo -->\n'
)  # fmt: skip
METAFILE = """
Collections:
  - Name: One
    README: configs/one/README.md
Models:
  - Name: one/first
    In Collection: One
    Config: configs/one/first.py
    Setting: USL somewhere
    Metadata: {Training Data: images, Backbone: a network}
    Published: {mAP: 50.0, Rank-1: 70.5, Source: a paper}
    Ours: not measured
  - Name: one/second
    In Collection: One
    Config: configs/one/second.py
    Setting: UDA somewhere
    Metadata: {Training Data: images, Backbone: a network}
    Published: not published
    Ours:
      mAP: 43.21
      Rank-1: 65.4
      Data: a small test
      Date: 2026-01-02
      Device: a computer
      Seeds: [0, 1]
      Log: docs/results.md#a-run---of-it
      Command: python run.py
"""


@pytest.fixture
def zoo(monkeypatch, capsys):
    """Runs the tool in this process; returns what it prints."""

    def call(root, *arguments):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), '--root', str(root), *arguments])
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    return call


@pytest.fixture
def tree(tmp_path):
    """A repository of two configs."""
    files = {
        'README.md': 'text\n',
        'configs/_base_/part.py': '',
        'configs/one/first.py': '',
        'configs/one/second.py': '',
        'configs/one/metafile.yml': METAFILE,
        'configs/one/README.md': f'before\n\n{MARKERS}\nafter\n',
        'docs/model_zoo.md': f'# Zoo\n\n{MARKERS}',
        'docs/results.md': '## A run -> of it\n\n| a | 43.21 | 12.00 | 65.40 |\n',
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_the_tables_of_this_repository_are_up_to_date(zoo):
    assert zoo(ROOT, '--check') == ''


def test_tables_hold_the_entries(zoo, tree):
    assert zoo(tree) == 'wrote configs/one/README.md\nwrote docs/model_zoo.md\n'
    readme = (tree / 'configs/one/README.md').read_text()
    lines = readme.splitlines()
    assert lines[0] == 'before'
    assert lines[-1] == 'after'
    assert (
        '| [first](first.py) | USL somewhere | a network | 50.0 / 70.5 | not measured |'
        ' `python tools/train.py configs/one/first.py` |'
    ) in lines
    assert (
        '| [second](second.py) | UDA somewhere | a network | not published | 43.21 / 65.4 (a small test) |'
        ' `python run.py` |'
    ) in lines
    assert (
        '| [second](second.py) | 2026-01-02 | a small test | a computer | 0, 1 |'
        ' [docs/results.md](../../docs/results.md#a-run---of-it) |'
    ) in lines
    assert 'Source of published figures: a paper' in lines
    overview = (tree / 'docs/model_zoo.md').read_text()
    assert '## One' in overview
    assert '| [second](../configs/one/second.py) | 2026-01-02 |' in overview
    assert zoo(tree) == ''
    assert zoo(tree, '--check') == ''


def test_check_shows_what_is_stale_and_changes_nothing(zoo, tree, capsys):
    zoo(tree)
    before = (tree / 'configs/one/README.md').read_text()
    edit(tree / 'configs/one/metafile.yml', 'mAP: 50.0', 'mAP: 51.0')
    with pytest.raises(SystemExit, match='stale'):
        zoo(tree, '--check')
    diff = capsys.readouterr().out
    assert '--- configs/one/README.md' in diff
    assert '--- docs/model_zoo.md' in diff
    assert any(line.startswith('-') and '50.0 / 70.5' in line for line in diff.splitlines())
    assert any(line.startswith('+') and '51.0 / 70.5' in line for line in diff.splitlines())
    assert (tree / 'configs/one/README.md').read_text() == before


@pytest.mark.parametrize(
    ('old', 'new', 'problem'),
    [
        ('    Setting: USL somewhere\n', '', "one/first: 'Setting' is missing"),
        ('Setting: USL', 'Seting: USL', "one/first: unknown key 'Seting'"),
        ('mAP: 50.0', 'mAP: fifty', "one/first: Published: 'mAP' must be a number in"),
        ('mAP: 50.0, ', '', "one/first: Published: 'mAP' is missing"),
        ('Published: not published', 'Published: unknown', 'one/second: Published: must be a mapping'),
        ('Seeds: [0, 1]', 'Seeds: 0', "one/second: Ours: 'Seeds' must be a list of integers"),
        ('Date: 2026-01-02', 'Date: yesterday', "one/second: Ours: 'Date' must be a date"),
        ('      Device: a computer\n', '', "one/second: Ours: 'Device' is missing"),
        ('mAP: 43.21', 'mAP: 43.22', 'one/second: Ours: no line of docs/results.md holds both 43.22 and'),
        ('#a-run---of-it', '#another', 'one/second: Ours: docs/results.md has no heading #another'),
        ('docs/results.md#', 'docs/log.md#', "one/second: Ours: 'Log' docs/log.md is not a file"),
        ('In Collection: One', 'In Collection: Two', "one/first: collection 'Two' is not in this file"),
        ('Name: one/first', 'Name: one/frist', "one/frist: 'Name' must be one/first"),
        ('configs/one/first.py', 'configs/two/first.py', "one/first: 'Config' must be a file of this folder"),
        ('configs/one/first.py', 'configs/one/second.py', 'configs/one/first.py is listed 0 times'),
        ('configs/one/first.py', 'configs/one/second.py', 'configs/one/second.py is listed 2 times'),
        ('    README: configs/one/README.md\n', '', "One: 'README' is missing"),
        ('Models:', 'Model:', "'Models' is missing"),
        ('Models:', 'Models: [', 'cannot be read'),
    ],
)
def test_an_error_names_file_and_entry(zoo, tree, old, new, problem):
    edit(tree / 'configs/one/metafile.yml', old, new)
    with pytest.raises(SystemExit) as error:
        zoo(tree)
    assert f'configs/one/metafile.yml: {problem}' in error.value.code


def test_a_folder_of_configs_needs_a_metafile(zoo, tree):
    (tree / 'configs/two').mkdir()
    (tree / 'configs/two/third.py').touch()
    with pytest.raises(SystemExit, match=r'configs/two/metafile\.yml: cannot be read'):
        zoo(tree)


def test_a_folder_of_a_user_needs_none(zoo, tree):
    zoo(tree)
    (tree / 'configs/my').mkdir()
    (tree / 'configs/my/third.py').touch()
    (tree / 'configs/my/notes.md').write_text('It reaches 72.5 mAP.\n')
    assert zoo(tree, '--check') == ''


def test_a_document_needs_the_markers(zoo, tree):
    edit(tree / 'configs/one/README.md', '<!-- end of model zoo -->', '')
    with pytest.raises(SystemExit, match=r'configs/one/README\.md: needs the two lines'):
        zoo(tree)


@pytest.mark.parametrize('document', ['README.md', 'configs/one/README.md', 'docs/model_zoo.md'])
@pytest.mark.parametrize(
    'claim', ['It reaches 72.5 mAP.', '| GLC | 72.5 / 89.6 |', 'Rank-1 of 89.6', 'mAP: 72.52 %']
)
def test_only_tables_and_the_log_claim_scores(zoo, tree, document, claim):
    zoo(tree)
    path = tree / document
    path.write_text(f'{path.read_text()}\n{claim}\n')
    with pytest.raises(SystemExit, match='claims a result') as error:
        zoo(tree, '--check')
    assert error.value.code.startswith(f'{document}:')
    assert len(error.value.code.splitlines()) == 1
