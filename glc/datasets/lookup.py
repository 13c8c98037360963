"""Where a data set is that is not where its root says."""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress


def locate(root: str, names: Sequence[str]) -> str | None:
    """Return the folder near ``root`` that holds one of ``names``, as an absolute path; None where none does.

    Looked at are the folder above ``root``, for a relative ``root`` the same path from the two folders above the
    current directory, and the folders one and two levels below ``root`` (below the folder above it, if ``root`` does
    not exist).

    Args:
        root: Folder in which all names are missing.
        names: Folders or files of the layout, relative to the folder that is looked for.
    """
    for folder in _near(root):
        if any(os.path.exists(os.path.join(folder, name)) for name in names):
            return os.path.abspath(folder)
    return None


def absolute(path: str) -> str:
    """Return a path as messages show it: absolute, with the current directory where the path depends on it."""
    shown = f"'{os.path.abspath(path)}'"
    return shown if os.path.isabs(path) else f"{shown} (from the current directory '{os.getcwd()}')"


def _near(root: str) -> Iterator[str]:
    above = os.path.dirname(os.path.abspath(root))
    yield above
    if not os.path.isabs(root):
        yield os.path.join('..', root)
        yield os.path.join('..', '..', root)
    below = _folders(root if os.path.isdir(root) else above)
    yield from below
    for folder in below:
        yield from _folders(folder)


def _folders(folder: str) -> list[str]:
    """List the folders in a folder, sorted; none where it cannot be read."""
    with suppress(OSError), os.scandir(folder) as entries:
        return sorted(entry.path for entry in entries if entry.name != '__MACOSX' and entry.is_dir())
    return []
