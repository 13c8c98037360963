"""What command lines about folders of images share: where identities and cameras are, and the table of problems."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glc.datasets.inspection import Problem


def add_naming(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where identities and cameras are."""
    names = parser.add_mutually_exclusive_group()
    names.add_argument(
        '--pattern',
        metavar='REGEX',
        help="regular expression with the named groups pid and cam, searched in each image's path, such as "
        r"'(?P<pid>[^/_]+)_(?P<cam>[^/_]+)_[^/]+$'",
    )
    names.add_argument(
        '--folders',
        metavar='LEVELS',
        help='what the folders are called after, such as pid/cam, or */pid (* is any name)',
    )
    names.add_argument(
        '--csv',
        metavar='FILE',
        help='table with the columns path (relative to the folder), pid and cam; both may be absent',
    )


def naming_pattern(args: argparse.Namespace) -> str | None:
    """Return the pattern that the options mean; None where there is none.

    Raises:
        ValueError: ``--folders`` has an unknown word.
    """
    if args.folders is None:
        return args.pattern
    levels = args.folders.strip('/').split('/')
    unknown = set(levels) - {'pid', 'cam', '*'}
    if unknown or len(set(levels) & {'pid', 'cam'}) != len([level for level in levels if level != '*']):
        raise ValueError(f'--folders {args.folders}: levels are pid, cam (each once) and *, separated by /')
    return '^' + ''.join('[^/]+/' if level == '*' else f'(?P<{level}>[^/]+)/' for level in levels)


def report_problems(problems: Sequence['Problem'], number: int, root: str, out: Path | None) -> bool:
    """Print a table of problems, and write them to a CSV file if asked for.

    Args:
        problems: The problems.
        number: Number of images that were read.
        root: Folder that names of images are relative to.
        out: The CSV file.

    Returns:
        Whether some are errors.
    """
    from glc.datasets.inspection import ERRORS, PROBLEMS
    from glc.utils.files import write_csv

    def name(path: str) -> str:
        return os.path.relpath(path, root) if path else ''

    def printable(path: str) -> str:
        return os.fsencode(name(path)).decode(errors='replace')  # names need not be UTF-8

    if out:
        rows = [
            (name(problem.path), problem.kind, problem.detail, name(problem.other)) for problem in problems
        ]
        write_csv(out, [('path', 'problem', 'detail', 'other'), *rows])
    counts = Counter(problem.kind for problem in problems)
    firsts = {problem.kind: problem for problem in reversed(problems)}
    print(f"{number:,} images in '{root}'" + ('' if problems else ': no problem found'))
    for kind, count in sorted(counts.items(), key=lambda item: list(PROBLEMS).index(item[0])):
        first = firsts[kind]
        like = f' is like {printable(first.other)}' if first.other else ''
        detail = f' ({first.detail})' if first.detail else ''
        word = 'error' if kind in ERRORS else 'note'
        print(f'{word:5}  {count:7,}  {kind:30}  {PROBLEMS[kind]}: {printable(first.path)}{like}{detail}')
    if out:
        print(f'all of them: {out}')
    return any(kind in ERRORS for kind in counts)


def fail(error: Exception) -> int:
    """Print an error of the user's input; return the exit code."""
    print(f'error: {error}', file=sys.stderr)
    return 2
