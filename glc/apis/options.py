"""Overrides of a config on the command line."""

import argparse
import re
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ['ConfigOptions', 'parse_value']

_BRACKETS = {'(': ')', '[': ']', '{': '}'}
_QUOTED = re.compile(r"""r?(?P<quote>['"])(?P<text>(?:(?!(?P=quote)).)*)(?P=quote)""", re.DOTALL)
# What a list may hold without quotes: words within brackets, and less where nothing but commas makes it a list.
_WORD = re.compile(r'[\w ./:~@-]*[\w./:~@-]')
_BARE_WORD = re.compile(r'[\w.-]+')


class ConfigOptions(argparse.Action):
    """Action that collects ``KEY=VALUE`` arguments in a dict; :func:`parse_value` reads the values.

    Example:
        >>> parser = argparse.ArgumentParser()
        >>> _ = parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
        >>> parser.parse_args(['--cfg-options', 'train_cfg.max_epochs=5', 'a.data_root=/data/my crops']).cfg_options
        {'train_cfg.max_epochs': 5, 'a.data_root': '/data/my crops'}
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the arguments to those of an earlier use of the option."""
        options = dict(getattr(namespace, self.dest) or {})
        for argument in values or ():
            key, equals, value = argument.partition('=')
            if not equals or not all(key.split('.')):
                raise argparse.ArgumentError(
                    self,
                    f"'{argument}' is not KEY=VALUE with a dotted KEY; other arguments go before {option_string}",
                )
            options[key] = parse_value(value)
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    r"""Read the value of an option; what is no value of another type stays the text that it is.

    Read are, with spaces between their parts where one likes:

    - integers, floats, ``None``, and ``true`` and ``false`` in any case;
    - ``[a, 1]`` and ``(a, 1)``, a list and a tuple, nested or not; words in them need no quotes;
    - ``{'key': value}`` and ``dict(key=value)``;
    - ``a,1``, a list, if its parts are numbers, plain words (letters, digits and ``_.-``), quoted or in brackets;
    - text in quotes, where a backslash is a backslash.

    All else is text as written: paths, regular expressions, anything with other signs than these.

    Example:
        >>> parse_value('1,2.5,x'), parse_value("[(96, 192), 'a, b']"), parse_value("dict(type='GLC', k=15)")
        ([1, 2.5, 'x'], [(96, 192), 'a, b'], {'type': 'GLC', 'k': 15})
        >>> print(parse_value(r'(?P<pid>\d{1,4})_c(?P<cam>\d)'), parse_value("'1'"), parse_value('/data/crops, old'))
        (?P<pid>\d{1,4})_c(?P<cam>\d) 1 /data/crops, old
    """
    try:
        parts = _split(text, ',')
        if len(parts) > 1:
            return [_value(part, _BARE_WORD) for part in _without_last_comma(parts)]
        return _value(text.strip(), None)
    except ValueError:
        return text


def _value(text: str, word: re.Pattern | None) -> Any:
    """Read a value, or a word of this form; ValueError where the text is neither."""
    if quoted := _QUOTED.fullmatch(text):
        return quoted['text']
    for start, end, read in _CONTAINERS:
        if text.startswith(start) and text.endswith(end):
            inner = text[len(start) : -1]
            return read(_without_last_comma(_split(inner, ',')) if inner.strip() else [])
    if text == 'None':
        return None
    if text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    if not re.match(r'[+-]?0[\d_]', text):  # an integer like 007 is none in Python, and would lose its zeros
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                pass
    if word and word.fullmatch(text):
        return text
    raise ValueError(text)


def _values(parts: list[str]) -> list:
    return [_value(part, _WORD) for part in parts]


def _pairs(separator: str, key: re.Pattern) -> Callable[[list[str]], dict]:
    def read(parts: list[str]) -> dict:
        pairs = [_split(part, separator) for part in parts]
        if any(len(pair) != 2 or not key.fullmatch(pair[0]) for pair in pairs):
            raise ValueError(parts)
        return {name.strip('\'"'): _value(value, _WORD) for name, value in pairs}

    return read


_CONTAINERS: tuple[tuple[str, str, Callable[[list[str]], Any]], ...] = (
    ('[', ']', _values),
    ('(', ')', lambda parts: tuple(_values(parts))),
    ('{', '}', _pairs(':', _QUOTED)),
    ('dict(', ')', _pairs('=', re.compile(r'\w+'))),
)


def _split(text: str, separator: str) -> list[str]:
    """Split at a sign that stands outside of quotes and brackets; ValueError where these do not close."""
    parts, closing, quote, start = [], [''], '', 0
    for position, sign in enumerate(text):
        if quote:
            quote = '' if sign == quote else quote
        elif sign in '\'"':
            quote = sign
        elif sign in _BRACKETS:
            closing.append(_BRACKETS[sign])
        elif sign == closing[-1]:
            closing.pop()
        elif sign in ')]}':
            raise ValueError(text)
        elif sign == separator and len(closing) == 1:
            parts.append(text[start:position].strip())
            start = position + 1
    if quote or len(closing) > 1:
        raise ValueError(text)
    return [*parts, text[start:].strip()]


def _without_last_comma(parts: list[str]) -> list[str]:
    return parts if parts[-1] else parts[:-1]
