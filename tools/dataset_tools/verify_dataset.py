"""Count the images of a data set and compare with the published counts; exit code 1 where something is missing.

Example:
    python tools/dataset_tools/verify_dataset.py market1501 data/market1501
    python tools/dataset_tools/verify_dataset.py market1501 data/market1501 --content --workers 4 --out problems.csv
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.apis import ConfigOptions
from glc.cli.check_images import add_limits, check

if TYPE_CHECKING:
    from glc.datasets import BaseReIDDataset

_COLUMNS = ('split', 'images', 'ids', 'cams', 'junk', 'distractors', 'published images/ids/cams', 'status')


def known_datasets() -> dict[str, str]:
    """Return the registered names of the data sets, by their lower-case names."""
    from glc.datasets import BaseReIDDataset
    from glc.registry import DATASETS

    DATASETS.import_from_location()
    return {
        name.lower(): name
        for name, kind in DATASETS.module_dict.items()
        if issubclass(kind, BaseReIDDataset) and kind.scan is not BaseReIDDataset.scan
    }


def verify(dataset: BaseReIDDataset) -> tuple[list[tuple[str, ...]], list[str]]:
    """Count every split.

    Args:
        dataset: Any data set, not loaded yet.

    Returns:
        One row of the table per split, and what is wrong, as text.
    """
    rows, problems = [], []
    for part in dataset.parts:
        try:
            found, expected = dataset.count(dataset.scan(part)), dataset.expected_counts(part)
        except FileNotFoundError as error:
            if part not in dataset.optional_parts:
                problems.append(f'{part}: {str(error).splitlines()[0]}')
            rows.append((part, *'------', 'missing' if part not in dataset.optional_parts else 'none'))
            continue
        published = '/'.join('?' if n is None else f'{n:,}' for n in expected[:3]) if expected else 'unknown'
        complete = dataset.is_complete(part, found)
        status = 'ok' if complete else 'incomplete' if found.images < expected.images else 'different'
        rows.append((part, *(f'{number:,}' for number in found), published, status))
        if not complete:
            problems.append(f'{part}: {status}, {found.images:,} of {expected.images:,} images')
    return rows, problems


def check_content(dataset: BaseReIDDataset, args: argparse.Namespace) -> int:
    """Read the images of all parts that are there; return the exit code of the check."""
    records = []
    for part in dataset.parts:
        with suppress(FileNotFoundError):
            records += dataset.scan(part)
    if records and not os.path.lexists(records[0].path):
        print('error: --content reads files, and these images are in a database', file=sys.stderr)
        return 1
    unknown = (-1, dataset.junk_pid, dataset.distractor_pid)
    pids = ['' if record.pid in unknown else record.pid for record in records]
    return check([record.path for record in records], pids, args.root, args)


def main() -> int:
    """Parse the command line, print the table and what is missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('name', help='data set, such as Market1501; docs/datasets.md has all')
    parser.add_argument('root', help='folder of the data set')
    parser.add_argument(
        '--options',
        nargs='+',
        action=ConfigOptions,
        default={},
        help='more arguments of the data set: key=value',
    )
    parser.add_argument('--content', action='store_true', help='also read every image, as check.py does')
    add_limits(parser)
    args = parser.parse_args()
    # After --help: these take seconds.
    from glc.registry import DATASETS

    names = known_datasets()
    if args.name.lower() not in names:
        parser.error(f"there is no data set '{args.name}', but: {', '.join(names.values())}")
    dataset = DATASETS.build(
        {'type': names[args.name.lower()], 'data_root': args.root, 'lazy_init': True, **args.options}
    )
    try:
        rows, problems = verify(dataset)
    except ValueError as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    print(f"{dataset.metainfo['dataset_name']} in '{args.root}'")
    for row in (_COLUMNS, *rows):
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if problems:
        print('\n'.join(['', *problems, 'expected layout:', dataset.layout]))
    bad = args.content and check_content(dataset, args)
    return int(bool(problems or bad))


if __name__ == '__main__':
    sys.exit(main())
