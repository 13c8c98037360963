"""One walk through folders of images, for all data sets."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from heapq import heappop, heappush
from typing import NamedTuple

from PIL import Image

# Of photos: PIL opens icons, drawings and tables of numbers too.
_FORMATS = {'AVIF', 'BMP', 'DIB', 'GIF', 'HEIF', 'JPEG', 'JPEG2000', 'PCX', 'PNG', 'PPM', 'QOI', 'SGI', 'SUN'}
_FORMATS |= {'TGA', 'TIFF', 'WEBP'}
# What systems and network disks put into a folder by themselves, in lower case.
_NOT_OURS = {'__macosx', 'thumbs.db', 'desktop.ini', '@eadir', '#recycle', '$recycle.bin', 'lost+found'}
_NOT_OURS |= {'system volume information'}


class Walk(NamedTuple):
    """What is in a folder.

    Attributes:
        images: Image files, relative to the folder, with forward slashes, sorted.
        other_endings: Number of the other files by their ending, in lower case.
        left_out: What is named like an image but is no regular file (pipe, device, socket, broken link), and links to
            folders that hold the link or were met before; relative and sorted, too.
    """

    images: list[str]
    other_endings: Counter[str]
    left_out: list[str]


@cache
def image_endings() -> frozenset[str]:
    """Return the endings of the photo formats that PIL opens here, in lower case, with their dots."""
    return frozenset(
        ending
        for ending, kind in Image.registered_extensions().items()
        if kind in _FORMATS and kind in Image.OPEN
    )


def is_image(name: str) -> bool:
    """Return whether a file name ends like that of an image."""
    return _ending(name) in image_endings()


def walk(folder: str, deep: bool = True, without: Iterable[str] = ()) -> Walk:
    """List the image files in a folder, in an order that depends on their names only.

    Hidden entries and those that systems put there (``__MACOSX``, ``Thumbs.db``) are left out. Links to folders are
    followed, but every real folder is read once: under its own name where it has one here, and never through a link
    to a folder that holds the link.

    Args:
        folder: The folder.
        deep: Whether folders in it are read, too.
        without: Folders that are not read.

    Raises:
        OSError: If a folder is missing or cannot be read.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ('b.JPG', '._b.JPG', 'notes.txt', 'hall/a.png'):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         Path(root, name).touch()
        ...     Path(root, 'hall', 'loop').symlink_to(root)
        ...     walk(root)
        Walk(images=['b.JPG', 'hall/a.png'], other_endings=Counter({'.txt': 1}), left_out=['hall/loop'])
    """
    endings = image_endings()
    images: list[str] = []
    other_endings: Counter[str] = Counter()
    left_out: list[str] = []
    met = {_identity(path) for path in without if os.path.isdir(path)}
    folders, links = [''], list[str]()
    while folders or links:
        # Links wait until all real folders are read, so that a folder keeps its own name.
        path = folders.pop() if folders else heappop(links)
        here = os.path.join(folder, path)
        if _identity(here) in met:
            left_out += [path] if os.path.islink(here) else []
            continue
        met.add(_identity(here))
        with os.scandir(here) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith('.') or name.lower() in _NOT_OURS:
                    continue
                inner, ending = f'{path}/{name}' if path else name, _ending(name)
                if _is(entry.is_file):
                    if ending in endings:
                        images.append(inner)
                    else:
                        other_endings[ending] += 1
                elif not _is(entry.is_dir):
                    left_out += [inner] if ending in endings else []
                elif not deep:
                    continue
                elif not entry.is_symlink():
                    folders.append(inner)
                elif _holds(entry.path, folder) or _holds(entry.path, here):
                    left_out.append(inner)
                else:
                    heappush(links, inner)
    return Walk(sorted(images), other_endings, sorted(left_out))


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link that cannot be followed
        return False


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _holds(link: str, folder: str) -> bool:
    """Return whether a folder is, or is below, the one that a link leads to."""
    return os.path.join(os.path.realpath(folder), '').startswith(os.path.join(os.path.realpath(link), ''))
