"""Old import paths give the moved objects and warn."""

import copy
import pickle
import re
import sys
from importlib import import_module
from inspect import isclass, isfunction
from pathlib import Path

import pytest

from glc._moved import MOVED

ROOT = Path(__file__).resolve().parents[1]


def public_names(module: str) -> list[str]:
    found = vars(import_module(module))
    own = [name for name, value in found.items() if isclass(value) or isfunction(value)]
    return [name for name in found.get('__all__', own) if not name.startswith('_')]


def cases():
    for old, row in MOVED.items():
        places = {'*': row} if isinstance(row, str) else dict(row)
        rest = places.pop('*', None)
        names = {name: place if ':' in place else f'{place}:{name}' for name, place in places.items()}
        if rest:
            names = {name: f'{rest}:{name}' for name in public_names(rest)} | names
        yield from ((old, name, *place.split(':')) for name, place in names.items())


CASES = list(cases())


def test_every_row_has_cases():
    assert {old for old, *_ in CASES} == set(MOVED)


@pytest.mark.parametrize(('old', 'name', 'module', 'new_name'), CASES)
def test_an_old_name_is_the_new_object(old, name, module, new_name):
    message = re.escape(f'{old}.{name} has moved to {module}.{new_name}; the old path goes')
    with pytest.warns(DeprecationWarning, match=message) as caught:
        found = getattr(import_module(old), name)
    assert found is getattr(import_module(module), new_name)
    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]


@pytest.mark.parametrize('old', MOVED)
@pytest.mark.parametrize('name', ['missing', '_first'])
def test_other_names_are_unknown(old, name):
    with pytest.raises(AttributeError, match=f'module {old!r} has no attribute {name!r}'):
        getattr(import_module(old), name)


def test_private_names_are_not_forwarded():
    from glc.core import quality

    assert hasattr(import_module(MOVED['glc.core.quality']), '_pairs')
    with pytest.raises(AttributeError, match='_pairs'):
        quality._pairs  # noqa: B018


@pytest.mark.parametrize(
    'statement',
    [
        'from glc.core.memory import ClusterMemory as found',
        'import glc.core.memory as m; found = m.ClusterMemory',
        'from glc.core import memory; found = memory.ClusterMemory',
    ],
)
def test_the_warning_points_to_the_import(statement, monkeypatch):
    monkeypatch.delitem(sys.modules, 'glc.core.memory', raising=False)  # as before the first import
    monkeypatch.delattr('glc.core.memory', raising=False)
    found = {}
    with pytest.warns(DeprecationWarning, match=r'^glc\.core\.memory\.ClusterMemory has moved') as caught:
        exec(f'import glc\n\n{statement}', found)
    assert found['found'].__module__ == 'glc.core.memories.cluster'
    assert [(warning.filename, warning.lineno) for warning in caught] == [('<string>', 3)]


def test_old_pickles_load():
    from glc.core.memories import ClusterMemory

    new = pickle.dumps(ClusterMemory, protocol=0)
    assert copy.deepcopy(ClusterMemory) is pickle.loads(new) is ClusterMemory
    old = new.replace(b'glc.core.memories.cluster', b'glc.core.memory')
    assert old != new
    with pytest.warns(DeprecationWarning, match='has moved'):
        assert pickle.loads(old) is ClusterMemory


def test_nothing_uses_an_old_path():
    names = '|'.join(re.escape(old) for old in MOVED if old != 'glc.utils')
    old_path = re.compile(rf'(?:{names}|from glc\.utils import)(?![\w/])')
    files = [
        *ROOT.glob('*.md'),
        *(path for folder in ('glc', 'tools', 'configs', 'docs') for path in (ROOT / folder).rglob('*')),
    ]
    found = {
        path.relative_to(ROOT).as_posix(): old_path.findall(path.read_text(encoding='utf-8'))
        for path in [*files, *ROOT.glob('*.md')]
        if path.suffix in ('.py', '.md', '.yml') and path.name not in ('_moved.py', 'CHANGELOG.md')
    }
    assert len(found) > 100
    assert {path: names for path, names in found.items() if names} == {}
