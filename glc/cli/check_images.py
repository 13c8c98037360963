"""Check the images in a folder: damaged, tiny, blank, of odd shape, twice there, under two identities.

The exit code is 1 where images are damaged or under two identities (with --strict: where anything is found), 2 where
the command is wrong, else 0.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import new_parser
from glc.cli._images import add_naming, fail, naming_pattern, report_problems

_EXAMPLES = r"""
  python tools/dataset_tools/check.py crops --out problems.csv
  python tools/dataset_tools/check.py crops --folders pid/cam --workers 8
  python tools/dataset_tools/check.py crops --pattern '(?P<pid>[^/_]+)_(?P<cam>[^/_]+)_[^/]+$' --near -1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Read all images, print the table; return the exit code."""
    parser = new_parser(__doc__, _EXAMPLES)
    parser.add_argument('folder', help='folder with images at any depth')
    add_naming(parser)
    add_limits(parser)
    args = parser.parse_args(argv)

    from glc.datasets.own_images import read_named_images

    try:
        images = read_named_images(args.folder, naming_pattern(args), args.csv)
        return check([image.path for image in images], [image.pid for image in images], args.folder, args)
    except (OSError, ValueError) as error:
        return fail(error)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Add the options of a check."""
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write every problem to this CSV file')
    parser.add_argument(
        '--min-size',
        type=int,
        nargs=2,
        default=(16, 32),
        metavar=('WIDTH', 'HEIGHT'),
        help='smaller images are tiny (default: 16 32)',
    )
    parser.add_argument(
        '--aspect',
        type=float,
        nargs=2,
        default=(1.0, 5.0),
        metavar=('LEAST', 'MOST'),
        help='usual height over width (default: 1 5)',
    )
    parser.add_argument(
        '--near',
        type=int,
        default=20,
        metavar='BITS',
        help='images are nearly the same if so many of the 256 bits of their hashes differ, or fewer; -1 does not '
        'compare (default: %(default)s)',
    )
    parser.add_argument(
        '--workers', type=int, default=1, metavar='N', help='processes that read (default: 1)'
    )
    parser.add_argument('--strict', action='store_true', help='anything that is found makes the exit code 1')


def check(paths: Sequence[str], pids: Sequence[object], root: str, args: argparse.Namespace) -> int:
    """Check images and report; return the exit code."""
    from glc.datasets.inspection import inspect_images

    near = None if args.near < 0 else args.near
    problems = inspect_images(paths, pids, args.min_size, args.aspect, near, args.workers)
    errors = report_problems(problems, len(paths), root, args.out)
    return int(errors or (args.strict and bool(problems)))
