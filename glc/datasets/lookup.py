"""Where a data set is that is not where its root says."""

import os
from collections.abc import Sequence
from glob import escape, glob


def locate(root: str, names: Sequence[str]) -> str | None:
    """Return the folder near ``root`` that holds one of ``names``, as an absolute path; None where none does.

    Looked at are the folders one and two levels below ``root`` (below its parent where it does not exist), the folder
    above it, and, for a relative ``root``, the same path from the two folders above the current directory.

    Args:
        root: Folder in which all names are missing.
        names: Folders or files of the layout, relative to the folder that is looked for.
    """
    above = os.path.dirname(os.path.abspath(root))
    start = escape(root if os.path.isdir(root) else above)
    near = [folder for depth in ('*', '*/*') for folder in sorted(glob(os.path.join(start, depth, '')))]
    near.append(above)
    if not os.path.isabs(root):
        near += [os.path.join('..', root), os.path.join('..', '..', root)]
    for folder in near:
        if '__MACOSX' not in folder and any(os.path.exists(os.path.join(folder, name)) for name in names):
            return os.path.abspath(folder)
    return None


def absolute(path: str) -> str:
    """Return a path as messages show it: absolute, with the current directory where the path depends on it."""
    shown = f"'{os.path.abspath(path)}'"
    return shown if os.path.isabs(path) else f"{shown} (from the current directory '{os.getcwd()}')"
