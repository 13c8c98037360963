"""Files that are complete or not there."""

import csv
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    'atomic_file',
    'atomic_folder',
    'check_outside',
    'check_place',
    'full_disk_named',
    'unfinished_files',
    'write_csv',
]


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Write a file beside its place, and put it there when it is complete and on the disk.

    Whatever ends the writing, an error, a kill or a full disk, an earlier file of that name stays as it was. An error
    leaves nothing behind.

    Args:
        path: The file to write. Its folder is made. A link is followed.

    Yields:
        The path to write to, in the same folder and with the same ending.

    Raises:
        OSError: The folder or the file cannot be written. It names the file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with atomic_file(Path(folder, 'scores.json')) as path:
        ...         _ = path.write_text('{}')
        ...     [file.name for file in Path(folder).iterdir()]
        ['scores.json']
    """
    target = Path(os.path.realpath(path))
    beginning, part = f'.{target.stem}.', None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=beginning, suffix=f'.part{target.suffix}', dir=target.parent)
        os.close(handle)
        part = Path(name)
        part.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        yield part
        _to_disk(part)
        part.replace(target)
        _to_disk(target.parent)
    except OSError as error:
        # A full disk names no file, and the name of the part says little.
        if error.filename is None or os.path.basename(str(error.filename)).startswith(beginning):
            error.filename = str(target)
        raise
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Fill a folder beside its place, and put it there when it is complete.

    Whatever ends the filling, an earlier folder of that name stays as it was; at the end the new one replaces it whole.
    An error leaves nothing behind.

    Args:
        path: The folder to fill. The folder above it is made.

    Yields:
        The folder to write to, in the same place.

    Raises:
        OSError: The folder or a file in it cannot be written. It names that.

    Example:
        >>> with tempfile.TemporaryDirectory() as root:
        ...     with atomic_folder(Path(root, 'pictures')) as folder:
        ...         _ = (folder / 'a.txt').write_text('a')
        ...     [file.name for file in Path(root, 'pictures').iterdir()]
        ['a.txt']
    """
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f'.{target.name}.', suffix='.part', dir=target.parent))
        old = part.with_suffix('.old')
        try:
            part.chmod(0o777 & ~_umask())
            yield part
            if target.exists():
                target.rename(old)
            try:
                part.rename(target)
            except OSError:
                old.rename(target)
                raise
            _to_disk(target.parent)
        finally:
            for left in (part, old):
                shutil.rmtree(left, ignore_errors=True)
    except OSError as error:
        # A full disk names no file, and the name of the part says little.
        unfinished = rf'\.{re.escape(target.name)}\.\w+\.part'
        error.filename = re.sub(unfinished, lambda _: target.name, str(error.filename or target))
        raise


@contextmanager
def full_disk_named(folder: str | Path) -> Iterator[None]:
    """Name a folder in an error of a full disk that names nothing, as where another package writes into it."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            error.filename = os.path.abspath(folder)
        raise


def check_place(path: str | Path) -> None:
    """Check that a file or a folder can be written at a place, before the work that fills it.

    Raises:
        OSError: A part of the path above it is no folder, or nothing may be written there. It names that part.
    """
    above = Path(os.path.realpath(path)).parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(
            f"'{above}' is no folder: nothing can be written to '{os.path.abspath(path)}'"
        )
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"'{above}' is read-only: nothing can be written to '{os.path.abspath(path)}'")


def check_outside(path: str | Path, images: str | Path) -> None:
    """Check that what is to be written is not inside the folder of the images, which it would become a part of.

    Raises:
        ValueError: It is.
    """
    target = Path(os.path.realpath(path))
    if target.is_relative_to(os.path.realpath(images)):
        raise ValueError(
            f"'{target}' is inside the folder of the images, '{os.path.abspath(images)}': choose another one"
        )


def write_csv(path: str | Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV file in UTF-8. Names of files in another encoding keep their bytes."""
    with (
        atomic_file(path) as part,
        part.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file,
    ):
        csv.writer(file, lineterminator='\n').writerows(rows)


def unfinished_files(path: str | Path) -> list[Path]:
    """Find what kills have left of :func:`atomic_file`. A process that writes the file now has such a file too.

    Args:
        path: The file to write. Its name may have wildcards.

    Returns:
        The unfinished files, in order.
    """
    path = Path(path)
    return sorted(path.parent.glob(f'.{path.stem}.*.part{path.suffix}'))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
