"""Seconds and memory until a data set of very many files is listed.

    python tools/benchmarks/bench_files.py                          # 1,000,000 files, and 4,200,000 lines
    python tools/benchmarks/bench_files.py --files 50000 --lines 200000

The files are hard links to a few images of a few bytes, 1,000 in a folder, 100 folders in a folder. Each row is a new
process: its seconds, those of its processor, and the most memory that it had, each beyond the import.

- ``walk``: the files are found.
- ``ImageFolderReID``: a data set of them, with identities and cameras from their names, and what a training does with
  it at its start.
- ``LUPerson, new list``: the list of one folder is made and written.
- ``LUPerson, list``: a list that is there is opened, up to its first entry. It is measured at ``--lines`` / 10 and
  ``--lines`` lines; they are written directly, since no file is looked at.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PATTERN = r'(?P<pid>\d+)_c(?P<cam>\d+)'


def make_files(root: Path, number: int, flat: bool = False) -> None:
    """Make hard links, at most 50,000 to a file, as file systems allow."""
    for row in range(number):
        if row % 50_000 == 0:
            source = root / f'.source_{row}'
            source.write_bytes(b'x')
        folder = root if flat else root / f'{row // 100_000:03d}' / f'{row // 1000 % 100:02d}'
        if row % 1000 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        os.link(source, folder / f'{row // 20:07d}_c{row % 15 + 1}_{row:07d}.jpg')


def make_list(root: Path, lines: int) -> None:
    """Write the list that LUPerson keeps of a folder."""
    from glc.datasets.luperson import _RULES

    (root / 'images').mkdir(parents=True)
    stamp = os.stat(root / 'images').st_mtime_ns
    with open(root / 'images.list', 'w') as file:
        file.write(f'# {_RULES} {stamp}\n')
        file.writelines(f'{row:07d}_{row * 7919 % 10**9:09d}_0001.jpg\n' for row in range(lines))


def of_walk(root: str) -> int:
    """Find the files."""
    from glc.datasets.walk import walk

    return len(walk(root).images)


def of_folder(root: str) -> int:
    """List them as a data set, and do what a training does with it at its start."""
    from glc.datasets import ImageFolderReID
    from glc.datasets.checks import warn_of_overlap
    from glc.engine.resume import training_set_of

    dataset = ImageFolderReID(root, pattern=PATTERN)
    dataset.summary()
    warn_of_overlap(dataset, dataset)
    training_set_of(dataset)
    return len(set(dataset.pids)) and len(dataset)


def of_luperson(root: str) -> int:
    """List one folder as a data set for pre-training."""
    from glc.datasets import LUPerson

    dataset = LUPerson(root, check='off')
    dataset.get_data_info(0)
    return len(dataset)


DOORS: dict[str, Callable[[str], int]] = {'walk': of_walk, 'folder': of_folder, 'luperson': of_luperson}


def child(door: str, root: str) -> None:
    """Go through one door; print the number of entries, the seconds and the memory in MB."""
    import glc.engine  # noqa: F401
    from glc.datasets.walk import image_endings

    image_endings()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin, busy = time.perf_counter(), time.process_time()
    found = DOORS[door](root)
    print(
        found,
        time.perf_counter() - begin,
        time.process_time() - busy,
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    )


def measure(about: str, door: str, root: Path) -> None:
    """Print a row of the table."""
    command = [sys.executable, __file__, '--child', door, str(root)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found, *seconds, megabytes = map(float, done.stdout.split()[-4:])
    print(f'| {about} | {found:,.0f} | {seconds[0]:.1f} | {seconds[1]:.1f} | {megabytes:,.0f} |', flush=True)


def main() -> None:
    """Make the files, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--files', type=int, default=1_000_000, help='default: %(default)s')
    parser.add_argument('--lines', type=int, default=4_200_000, help='default: %(default)s')
    parser.add_argument(
        '--folder', type=Path, help='where the files are made, and removed (default: a new one in /tmp)'
    )
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child)
        return
    print('| what | entries | seconds | of the processor | memory, MB |\n|---|---|---|---|---|')
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        nested, flat = Path(folder, 'nested'), Path(folder, 'flat')
        nested.mkdir()
        make_files(nested, args.files)
        measure('walk', 'walk', nested)
        measure('ImageFolderReID', 'folder', nested)
        (flat / 'images').mkdir(parents=True)
        make_files(flat / 'images', args.files // 5, flat=True)
        measure('LUPerson, new list', 'luperson', flat)
        for lines in (args.lines // 10, args.lines):
            root = Path(folder, f'list_{lines}')
            make_list(root, lines)
            measure('LUPerson, list', 'luperson', root)


if __name__ == '__main__':
    main()
