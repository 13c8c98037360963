import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmengine.config import DictAction

from glc.apis import ConfigOptions
from glc.apis.options import parse_value
from tests.runs import ROOT

AS_WRITTEN = [
    r'(?P<pid>\d{1,4})_c(?P<cam>\d)',
    r'(\d+)',
    r'(?:a|b),(?:c|d)',
    r'[^/]+_(?P<pid>\d{4,}),?',
    '[^/]',
    r'^(?P<pid>[^_,]+)_.*\.(jpg|png)$',
    '/data/my crops',
    '/data/my crops, old',
    '/data/a,b',
    '/data/crops (1)',
    '/data/[old] crops',
    r'C:\new\1\data',
    r'C:\my data\test,1',
    "it's",
    "it's, that's",
    'a=b=c',
    '=',
    '{epoch:03d}',
    '{a}',
    '"a" "b"',
    '[a',
    'b)',
    "'",
    ' a ',
    '',
    ',',
    'a,,b',
    '007',
    'none',
    '[1] # a list',
]

LIKE_MMENGINE = [
    *('1', '-1', '1.5', '1e-3', 'true', 'False', 'None', 'a', 'a.b', 'a-b', 'data/x', '(1)', '()', '[]', '0'),
    *('1,2', '1, 2', 'a,b', 'a,', '[a,b]', '(a,b)', '[1,None,true]', '[(a,b),[c,d]]', '((1,2),[3,[4]])'),
    *("'a'", '"a"', "'a','b'", '[data/a,data/b]', '1,[2,3],x', '1e5,inf'),
]

literals = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(
        st.characters(codec='ascii', exclude_characters='\\\'"', categories=('L', 'N', 'P', 'S', 'Zs'))
    ),
    lambda inner: (
        st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text('abc_', min_size=1), inner)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize('text', AS_WRITTEN)
def test_text_arrives_as_written(text):
    assert parse_value(text) == text


@pytest.mark.parametrize('text', LIKE_MMENGINE)
def test_lists_and_numbers_are_those_of_mmengine(text):
    parsed = parse_value(text)
    assert repr(parsed) == repr(DictAction._parse_iterable(text))


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ("['a b', 'c, d']", ['a b', 'c, d']),
        (r"['(\d+)', 'C:\new']", [r'(\d+)', r'C:\new']),
        (r"r'(?P<pid>\d+)'", r'(?P<pid>\d+)'),
        ("'1'", '1'),
        ("'None'", 'None'),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ("{'type': 'GLC', 'k': [1, None]}", {'type': 'GLC', 'k': [1, None]}),
        ("dict(type='GLC', k=15)", {'type': 'GLC', 'k': 15}),
        (
            "[dict(type='A'), dict(type='B', size=(64, 128))]",
            [{'type': 'A'}, {'type': 'B', 'size': (64, 128)}],
        ),
        ('dict(_delete_=True)', {'_delete_': True}),
        ('{}', {}),
    ],
)
def test_values_that_mmengine_cannot_read(text, value):
    assert repr(parse_value(text)) == repr(value)


@pytest.mark.slow
@given(literals)
def test_a_value_as_python_writes_it_is_read(value):
    assert repr(parse_value(repr(value))) == repr(value)


@given(st.text())
def test_what_is_no_other_value_is_the_text(text):
    value = parse_value(text)
    if isinstance(value, str):
        assert value == text or (text.strip()[-1] in '\'"' and value in text)


@given(st.text(st.characters(exclude_characters='\'"')).filter(lambda text: text.strip() == text))
def test_quotes_make_any_value_a_text(text):
    assert parse_value(f"'{text}'") == text


def test_option_collects_and_says_what_is_no_override(capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    given = parser.parse_args(['--cfg-options', 'a.b=1', 'c=x=y', '--cfg-options', 'a.b=2'])
    assert given.cfg_options == {'a.b': 2, 'c': 'x=y'}
    assert parser.parse_args([]).cfg_options is None
    for wrong in ('epoch_5.pth', '=1', 'a..b=1'):
        with pytest.raises(SystemExit):
            parser.parse_args(['--cfg-options', 'a=1', wrong])
        assert f"'{wrong}' is not KEY=VALUE" in capsys.readouterr().err


def test_every_tool_reads_its_overrides_this_way():
    assert not [path for path in (ROOT / 'tools').rglob('*.py') if 'DictAction' in path.read_text()]
