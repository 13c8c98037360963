"""Write the tables of the model zoo from ``configs/*/metafile.yml``.

    python tools/docs/build_model_zoo.py            # rewrite the tables
    python tools/docs/build_model_zoo.py --check    # only compare; exit status 1 and a diff where one is stale

The tables stand between the two marker lines below, in the README of every collection and in docs/model_zoo.md. A
metafile lists every config of its folder once; configs/my is left out, for a user's own:

    Collections:
      - Name: GLC                                  # what the models refer to
        README: configs/glc/README.md              # where the tables of this collection stand
        Metadata: {Architecture: [GLC]}            # optional
        Paper: {Title: ..., URL: ...}              # optional
    Models:
      - Name: glc/vit_s_market_usl                 # folder/name of the config
        In Collection: GLC
        Config: configs/glc/vit_s_market_usl.py
        Setting: USL Market-1501
        Metadata: {Training Data: Market-1501, Backbone: PASS ViT-S/16}
        Published: not published                   # or {mAP, Rank-1, Source}, of exactly this recipe; or, where there
                                                   # are figures that nobody looked up: published, not quoted
        Ours: not measured                         # or the following, all of it
          mAP: 72.52                               # percent, last epoch, mean over the seeds
          Rank-1: 89.59
          Data: Market-1501, 150-id test           # what was tested on
          Date: 2026-11-23
          Device: two cores of an AMD EPYC
          Seeds: [0]
          Log: docs/results.md#heading             # a line of this file holds both figures
          Command: python tools/train.py ...

No document but docs/results.md, its archive and these tables may claim a score of a test; a line that looks like a
claim is an error.
"""

from __future__ import annotations

import argparse
import datetime
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml

from glc.utils.files import atomic_file

BEGIN = '<!-- model zoo: written by tools/docs/build_model_zoo.py -->'
END = '<!-- end of model zoo -->'
OVERVIEW = 'docs/model_zoo.md'
NARRATIVE, ARCHIVE = 'docs/results.md', 'docs/results_archive.md'
OWN = 'my'
NOT_PUBLISHED, NOT_MEASURED = ('not published', 'published, not quoted'), 'not measured'
PAIR = re.compile(r'(?<![\d.])\d{2}\.\d+ ?/ ?\d{2}\.\d')
SCORE = re.compile(r'\b(mAP|[Rr]ank-?1)\b.*\b\d{2}\.\d|\b\d{2}\.\d+ ?%? (mAP|[Rr]ank-?1)\b')


def is_text(value: Any) -> bool:
    """Whether the value is a string that is not empty."""
    return isinstance(value, str) and bool(value.strip())


def is_percent(value: Any) -> bool:
    """Whether the value is a number in [0, 100]."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 100


def is_mapping(value: Any) -> bool:
    """Whether the value maps names to values."""
    return isinstance(value, dict)


Rule = tuple[Callable[[Any], bool], str]
TEXT: Rule = (is_text, 'a text')
MAPPING: Rule = (is_mapping, 'a mapping')
PERCENT: Rule = (is_percent, 'a number in [0, 100]')
DATE: Rule = (lambda value: type(value) is datetime.date, 'a date like 2026-11-23')
SEEDS: Rule = (
    lambda value: isinstance(value, list) and value and all(type(seed) is int for seed in value),
    'a list of integers, not empty',
)
LIST: Rule = (lambda value: isinstance(value, list), 'a list')
RESULT: Rule = (lambda value: is_text(value) or is_mapping(value), 'a text or a mapping')

METAFILE = {'Collections': LIST, 'Models': LIST}
COLLECTION = {'Name': TEXT, 'README': TEXT}
COLLECTION_OPTIONS = {'Metadata': MAPPING, 'Paper': MAPPING}
MODEL = {
    'Name': TEXT,
    'In Collection': TEXT,
    'Config': TEXT,
    'Setting': TEXT,
    'Metadata': MAPPING,
    'Published': RESULT,
    'Ours': RESULT,
}
METADATA = {'Training Data': TEXT, 'Backbone': TEXT}
PUBLISHED = {'mAP': PERCENT, 'Rank-1': PERCENT, 'Source': TEXT}
OURS = {
    'mAP': PERCENT,
    'Rank-1': PERCENT,
    'Data': TEXT,
    'Date': DATE,
    'Device': TEXT,
    'Seeds': SEEDS,
    'Log': TEXT,
    'Command': TEXT,
}


def problems_of(entry: Any, rules: dict[str, Rule], optional: dict[str, Rule] | None = None) -> Iterator[str]:
    """What is wrong with the keys and values of one mapping."""
    if not is_mapping(entry):
        yield f'must be a mapping, got {entry!r}'
        return
    known = {**rules, **(optional or {})}
    for key in rules:
        if key not in entry:
            yield f"'{key}' is missing"
    for key, value in entry.items():
        if key not in known:
            yield f"unknown key '{key}', known are {', '.join(known)}"
        elif not known[key][0](value):
            yield f"'{key}' must be {known[key][1]}, got {value!r}"


def problems_of_model(root: Path, folder: Path, model: Any, collections: set[str]) -> Iterator[str]:
    """What is wrong with an entry of 'Models'."""
    found = list(problems_of(model, MODEL))
    yield from found
    if found:
        return
    path = (folder / Path(model['Config']).name).relative_to(root).as_posix()
    if model['Config'] != path or not (root / path).is_file():
        yield f"'Config' must be a file of this folder, got {model['Config']!r}"
    if model['Name'] != f'{folder.name}/{Path(path).stem}':
        yield f"'Name' must be {folder.name}/{Path(path).stem}"
    if model['In Collection'] not in collections:
        yield f'collection {model["In Collection"]!r} is not in this file'
    yield from (f'Metadata: {problem}' for problem in problems_of(model['Metadata'], METADATA))
    if model['Published'] not in NOT_PUBLISHED:
        yield from (f'Published: {problem}' for problem in problems_of(model['Published'], PUBLISHED))
    if model['Ours'] != NOT_MEASURED:
        found = list(problems_of(model['Ours'], OURS))
        yield from (f'Ours: {problem}' for problem in found or problems_of_log(root, model['Ours']))


def problems_of_log(root: Path, ours: dict[str, Any]) -> Iterator[str]:
    """Whether the log has the heading and, in one line, both figures."""
    name, _, heading = ours['Log'].partition('#')
    if not (root / name).is_file():
        yield f"'Log' {name} is not a file of this repository"
        return
    lines = (root / name).read_text(encoding='utf-8').splitlines()
    if heading and heading not in map(anchor, lines):
        yield f'{name} has no heading #{heading}'
    figures = {float(ours['mAP']), float(ours['Rank-1'])}
    if not any(figures <= set(map(float, re.findall(r'\d+\.\d+', line))) for line in lines):
        yield f'no line of {name} holds both {ours["mAP"]} and {ours["Rank-1"]}'


def anchor(line: str) -> str | None:
    """The anchor that a Markdown heading gets; None for other lines."""
    if not line.startswith('#'):
        return None
    return re.sub(r'[^\w\- ]', '', line.lstrip('#').strip().lower()).replace(' ', '-')


def read_metafiles(root: Path) -> tuple[list[dict], list[dict], list[str]]:
    """Collections and models of all metafiles, and what is wrong with them."""
    collections: list[dict] = []
    models: list[dict] = []
    problems: list[str] = []
    folders = sorted((root / 'configs').glob('[!_]*'))
    for folder in (path for path in folders if path.name != OWN and any(path.glob('*.py'))):
        content, found = read_metafile(root, folder)
        problems += [f'{folder.relative_to(root).as_posix()}/metafile.yml: {problem}' for problem in found]
        if not found:
            collections += content['Collections']
            models += content['Models']
    return collections, models, problems


def read_metafile(root: Path, folder: Path) -> tuple[dict, list[str]]:
    """Content of the metafile of a folder of configs, and what is wrong with it."""
    try:
        content = yaml.safe_load((folder / 'metafile.yml').read_text(encoding='utf-8'))
    except (OSError, yaml.YAMLError) as error:
        return {}, [f'cannot be read: {error}']
    problems = list(problems_of(content, METAFILE))
    if problems:
        return {}, problems
    collections, models = content['Collections'], content['Models']
    names = {entry_name(collection) for collection in collections}
    for entry in collections:
        found = problems_of(entry, COLLECTION, COLLECTION_OPTIONS)
        problems += [f'{entry_name(entry)}: {problem}' for problem in found]
    for entry in models:
        found = problems_of_model(root, folder, entry, names)
        problems += [f'{entry_name(entry)}: {problem}' for problem in found]
    listed = [model.get('Config') for model in models if is_mapping(model)]
    for leaf in sorted(path.relative_to(root).as_posix() for path in folder.glob('*.py')):
        if listed.count(leaf) != 1:
            problems.append(f'{leaf} is listed {listed.count(leaf)} times, must be once')
    return content, problems


def entry_name(entry: Any) -> str:
    """The name of an entry for messages."""
    return str(entry.get('Name', 'entry without Name')) if is_mapping(entry) else repr(entry)


def scores(result: dict | str) -> str:
    """Both figures, or why there are none."""
    return result if isinstance(result, str) else f'{result["mAP"]} / {result["Rank-1"]}'


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [header, ['---'] * len(header), *rows]
    return ['| ' + ' | '.join(cell.replace('|', r'\|') for cell in line) + ' |' for line in lines]


def tables(models: list[dict], document: str) -> list[str]:
    """All configs; then the circumstances of what was measured, and the sources of what was published."""

    def link(path: str, text: str) -> str:
        return f'[{text}]({Path(os.path.relpath(path, Path(document).parent)).as_posix()})'

    def of_config(model: dict) -> str:
        return link(model['Config'], Path(model['Config']).stem)

    def all_of(model: dict) -> list[str]:
        ours = model['Ours']
        if ours == NOT_MEASURED:
            result, command = ours, f'python tools/train.py {model["Config"]}'
        else:
            result, command = f'{scores(ours)} ({ours["Data"]})', ours['Command']
        backbone = model['Metadata']['Backbone']
        return [
            of_config(model),
            model['Setting'],
            backbone,
            scores(model['Published']),
            result,
            f'`{command}`',
        ]

    def circumstances(model: dict) -> list[str]:
        ours = model['Ours']
        seeds, log = ', '.join(map(str, ours['Seeds'])), link(ours['Log'], ours['Log'].partition('#')[0])
        return [of_config(model), str(ours['Date']), ours['Data'], ours['Device'], seeds, log]

    header = ['config', 'setting', 'backbone', 'published mAP / Rank-1', 'ours mAP / Rank-1', 'command']
    lines = table(header, [all_of(model) for model in models])
    measured = [circumstances(model) for model in models if model['Ours'] != NOT_MEASURED]
    if measured:
        lines += ['', *table(['measured config', 'date', 'data', 'device', 'seeds', 'log'], measured)]
    published = [model['Published'] for model in models if model['Published'] not in NOT_PUBLISHED]
    for source in sorted({result['Source'] for result in published}):
        lines += ['', f'Source of published figures: {source}']
    return lines


def with_tables(root: Path, document: str, lines: list[str]) -> str:
    """Text of a document with new lines between its markers."""
    text = (root / document).read_text(encoding='utf-8')
    if [text.count(marker) for marker in (BEGIN, END)] != [1, 1] or text.index(BEGIN) > text.index(END):
        raise SystemExit(f'{document}: needs the two lines, once each and in this order:\n{BEGIN}\n{END}')
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return '\n'.join([before + BEGIN, '', *lines, '', END + after])


def claims(root: Path) -> Iterator[str]:
    """Lines of documents, outside the tables, that claim a score of a test."""
    documents = [root / 'README.md', *sorted((root / 'docs').glob('*.md'))]
    readmes = sorted((root / 'configs').glob('*/*.md'))
    for path in [*documents, *(path for path in readmes if path.parent.name != OWN)]:
        name = path.relative_to(root).as_posix()
        if name in (NARRATIVE, ARCHIVE):
            continue
        inside = False
        for number, line in enumerate(path.read_text(encoding='utf-8').splitlines(), 1):
            inside = line == BEGIN or (inside and line != END)
            if not inside and (PAIR.search(line) or SCORE.search(line)):
                yield f'{name}:{number}: {line.strip()!r} claims a result, for the metafile or {NARRATIVE}'


def main() -> None:
    """Check the metafiles, then write or compare the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='change nothing; fail where a table is stale')
    parser.add_argument('--root', type=Path, default=Path(__file__).resolve().parents[2], help='repository')
    args = parser.parse_args()

    collections, models, problems = read_metafiles(args.root)
    problems += claims(args.root)
    if problems:
        raise SystemExit('\n'.join(problems))
    overview: list[str] = []
    new = {}
    for collection in collections:
        own = [model for model in models if model['In Collection'] == collection['Name']]
        new[collection['README']] = with_tables(
            args.root, collection['README'], tables(own, collection['README'])
        )
        overview += ['', f'## {collection["Name"]}', '', *tables(own, OVERVIEW)]
    new[OVERVIEW] = with_tables(args.root, OVERVIEW, overview[1:])
    stale = False
    for document, text in new.items():
        old = (args.root / document).read_text(encoding='utf-8')
        if old != text and args.check:
            stale = True
            diff = difflib.unified_diff(
                old.splitlines(), text.splitlines(), document, f'{document} (new)', '', '', 1, ''
            )
            print('\n'.join(diff))
        elif old != text:
            with atomic_file(args.root / document) as path:
                path.write_text(text, encoding='utf-8')
            print(f'wrote {document}')
    if stale:
        sys.exit('the model zoo is stale; run python tools/docs/build_model_zoo.py')


if __name__ == '__main__':
    main()
