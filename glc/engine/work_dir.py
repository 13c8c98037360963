"""The work dir of a training: who uses it, and the checkpoint that the training goes on from."""

import errno
import fcntl
import logging
import os
import re
import socket
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from glc.checkpoints import load_checkpoint_file
from glc.utils.files import atomic_file

__all__ = [
    'check_sums',
    'checkpoints_in',
    'locked',
    'newest_checkpoint',
    'own_stamp',
    'point_to',
    'pointed_to',
    'starting_point',
]

POINTER = 'last_checkpoint'
LOCK = '.lock'
WITHIN_EPOCH = 'within_epoch_{}.pth'  # of the epoch that has begun, from 1
# Names of epochs and of iterations; a run may have other ones.
TEMPLATES = ('epoch_{}.pth', 'iter_{}.pth', WITHIN_EPOCH)

STAMP = '%Y%m%d_%H%M%S'
_STAMPS: set[str] = set()  # of the runs of this process


def own_stamp(folder: str | Path, stamp: str) -> str:
    """Make a run's folder for logs, whose name is the time at which the run began.

    Its name is a second later, or more, where another run has it: one in the same work dir would write into the same
    log, and one of the same process would share its message hub.

    Args:
        folder: The work dir.
        stamp: The time now, as ``20261126_072143``.

    Returns:
        The name.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    while True:
        try:
            if stamp not in _STAMPS:
                Path(folder, stamp).mkdir()
                _STAMPS.add(stamp)
                return stamp
        except FileExistsError:
            pass
        stamp = (datetime.strptime(stamp, STAMP) + timedelta(seconds=1)).strftime(STAMP)


def checkpoints_in(folder: str | Path, template: str) -> dict[int, Path]:
    """Find the checkpoints of a name, complete or not.

    Args:
        folder: The folder, which need not exist.
        template: Their name, with ``{}`` for the epoch or iteration.

    Returns:
        The files by their number, in ascending order.
    """
    pattern = _pattern(template)
    folder = Path(folder)
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    found = ((pattern.fullmatch(path.name), path) for path in files)
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _pattern(template: str) -> re.Pattern:
    return re.compile(r'(\d+)'.join(map(re.escape, template.split('{}'))))


def point_to(checkpoint: str | Path) -> None:
    """Write the name of the newest checkpoint beside it, without its folder, so the folder may be moved."""
    with atomic_file(Path(checkpoint).with_name(POINTER)) as path:
        path.write_text(Path(checkpoint).name)


def pointed_to(folder: str | Path) -> str | None:
    """Return the file name that the folder's ``last_checkpoint`` gives; None where there is none."""
    pointer = Path(folder, POINTER)
    if not pointer.is_file():
        return None
    return os.path.basename(pointer.read_text(errors='replace').strip())


def newest_checkpoint(folder: str | Path, templates: Sequence[str] = TEMPLATES) -> Path | None:
    """Choose the checkpoint of a folder that a training goes on from.

    It is the one that ``last_checkpoint`` names; where that is missing or cannot be read, the newest one that can. A
    warning names those that were passed over, and why.

    Args:
        folder: The work dir.
        templates: Names of its checkpoints, with ``{}`` for the epoch or iteration.

    Returns:
        The file; None where the folder has no checkpoint.

    Raises:
        RuntimeError: If it has some, or has lost the one that is named, and none can be read.
    """
    kinds = [
        list(reversed(checkpoints_in(folder, template).values())) for template in dict.fromkeys(templates)
    ]
    named = pointed_to(folder)
    passed_over: dict[str, str] = {}
    found: list[tuple[int, Path]] = []
    for path in (path for kind in kinds for path in kind if path.name == named):
        found = _readable([path], passed_over)
    if named is not None and not any(path.name == named for kind in kinds for path in kind):
        passed_over[POINTER] = f'names no checkpoint of this folder: {named[:80]!r}'
    if found:
        newer = [path for kind in kinds if found[0][1] in kind for path in kind[: kind.index(found[0][1])]]
        passed_over |= {path.name: f'{POINTER} names {named}' for path in newer}
    else:
        for kind in kinds:
            found += _readable([path for path in kind if path.name not in passed_over], passed_over)
    where = os.path.abspath(folder)
    reasons = ''.join(f'\n  {name}: {reason}' for name, reason in passed_over.items())
    if not found:
        if any(kinds) or any(_pattern(template).fullmatch(named or '') for template in templates):
            raise RuntimeError(
                f"no checkpoint in '{where}' can be read:{reasons}\nGo on from another file with --resume FILE and "
                'another --work-dir, or delete these files to start anew'
            )
        print_log(f"no checkpoint in '{where}': the training starts from the beginning", logger='current')
        return None
    chosen = max(found)[1]
    if passed_over:
        print_log(f"going on from '{chosen}'; passed over:{reasons}", logger='current', level=logging.WARNING)
    return chosen


def starting_point(
    folder: str | Path, resume: bool | str, load_from: str | None, templates: Sequence[str] = TEMPLATES
) -> tuple[bool, str | None]:
    """Decide where a training starts, so that it does not overwrite another run.

    Args:
        folder: The work dir.
        resume: ``'auto'`` goes on from the newest checkpoint of the folder, True from ``load_from`` or, without one, as
            ``'auto'``; False starts anew.
        load_from: A checkpoint, or weights to start from.
        templates: Names of the checkpoints, with ``{}`` for the epoch or iteration.

    Returns:
        Whether to resume, and the file to load.

    Raises:
        RuntimeError: If the folder has checkpoints that the training would overwrite, or none that can be read.
    """
    if resume == 'auto' or (resume and load_from is None):
        newest = newest_checkpoint(folder, templates)
        return (False, load_from) if newest is None else (True, str(newest))
    names = {path.name for template in templates for path in checkpoints_in(folder, template).values()}
    names |= {path.name for path in Path(folder).glob('best_*.pth')}
    own = resume and load_from is not None and Path(load_from).resolve().parent == Path(folder).resolve()
    if names and not own:
        start = f"--resume '{load_from}'" if resume else 'a start from the beginning'
        raise RuntimeError(
            f"'{os.path.abspath(folder)}' has checkpoints of a run ({', '.join(sorted(names)[:3])}), which {start} "
            'would overwrite: go on with that run by --resume, take another --work-dir, or delete the folder'
        )
    if resume and load_from is not None and Path(load_from).is_file():
        check_sums(load_from)
    return bool(resume), load_from


def check_sums(path: str | Path) -> None:
    """Compare the parts of a checkpoint with their checksums, which torch writes and does not read.

    Raises:
        RuntimeError: If a part has changed since it was written.
    """
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except Exception as error:  # of many kinds
            damaged = f'all parts ({error})'
        if damaged is not None:
            raise RuntimeError(
                f"'{os.path.abspath(path)}' is damaged: the checksum of {damaged} is another one"
            )


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Keep other trainings out of a work dir. The system lifts the lock when the process ends, however it ends.

    Args:
        folder: The work dir, which is made where it is missing.

    Raises:
        RuntimeError: If another process holds the lock.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with Path(folder, LOCK).open('a+') as file:
        try:
            # Of the process, unlike flock: a loader's worker that outlives it does not hold the lock.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                other = file.read().strip() or 'unknown'
                raise RuntimeError(
                    f"'{os.path.abspath(folder)}' is in use by a training, {other}: wait for it, stop it, or take "
                    'another --work-dir'
                ) from None
            print_log(
                f"'{folder}' cannot be locked ({error.strerror}): start no other training in it",
                logger='current',
                level=logging.WARNING,
            )
        file.truncate(0)
        file.write(
            f'process {os.getpid()} on {socket.gethostname()}, started {time.strftime("%Y-%m-%d %H:%M:%S")}\n'
        )
        file.flush()
        yield


def _readable(paths: list[Path], passed_over: dict[str, str]) -> list[tuple[int, Path]]:
    """Return the first checkpoint of a run that can be read, with its iteration; note those before it."""
    for path in paths:
        try:
            return [(_iteration(load_checkpoint_file(path)), path)]
        except (OSError, RuntimeError) as error:
            passed_over[path.name] = str(error).partition('\n')[0]
    return []


def _iteration(content: Any) -> int:
    """Return the iteration of a checkpoint.

    Raises:
        RuntimeError: If it is none of a training.
    """
    if not isinstance(content, dict) or not {'meta', 'message_hub', 'state_dict'} <= set(content):
        raise RuntimeError('holds no state of a training')
    return int(content['meta']['iter'])
