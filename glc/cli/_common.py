"""What the command lines share."""

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from glc.apis.options import ConfigOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image


def new_parser(description: str, examples: str, prog: str | None = None) -> argparse.ArgumentParser:
    """Make a parser whose help ends in examples, a command a line."""
    lines = ''.join(f'  {line.strip()}\n' for line in examples.strip().splitlines())
    return argparse.ArgumentParser(
        prog=prog,
        description=description,
        epilog=f'examples:\n{lines}',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Add what training and evaluation have in common, and parse."""
    add_config_options(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def add_config_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )


def add_out(parser: argparse.ArgumentParser, default: str, kinds: str = 'its ending gives the kind') -> None:
    """Add ``--out``."""
    parser.add_argument('--out', type=Path, metavar='FILE', help=f'picture; {kinds} (default: {default})')


def import_everything() -> None:
    """Import what runs need, at four fifths of the time: without garbage collections.

    They would look through all modules again and again; mmengine collects for every data set.
    """
    if 'glc.models' not in sys.modules:
        gc.disable()
        import glc.apis.build
        import glc.datasets
        import glc.engine
        import glc.evaluation
        import glc.models  # noqa: F401

        gc.freeze()
        atexit.register(gc.unfreeze)  # or libraries report leaks when the program ends
        gc.enable()


@contextmanager
def plain_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """End with one line instead of a traceback: where a file, a value or a package is wrong, and at Ctrl-C."""
    try:
        yield
    except (ImportError, KeyError, OSError, RuntimeError, ValueError) as error:
        text = error.args[0] if isinstance(error, KeyError) else error  # the text of a KeyError is quoted
        raise SystemExit(f'{parser.prog}: error: {text}') from error
    except KeyboardInterrupt:
        print(f'{parser.prog}: stopped', file=sys.stderr)
        raise SystemExit(130) from None


def save_picture(picture: 'Figure | Image', out: Path) -> None:
    """Write a picture and say where it is.

    Raises:
        ValueError: If nothing writes files of this ending.
    """
    from glc.utils.files import atomic_file
    from glc.utils.images import encoded

    try:
        content = encoded(picture, out.suffix)
    except ValueError as error:
        raise ValueError(
            f"'{os.path.abspath(out)}' cannot be written as {out.suffix or 'a picture'}: {error}"
        ) from error
    with atomic_file(out) as path:
        path.write_bytes(content)
    print(f'wrote {out}')
