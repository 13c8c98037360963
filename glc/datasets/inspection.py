"""What is wrong with image files: damaged, tiny, blank, twice there, or under two identities."""

import hashlib
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from glc.utils.images import as_rgb

__all__ = ['ERRORS', 'PROBLEMS', 'Problem', 'inspect_images', 'near_duplicates']

PROBLEMS = {
    'corrupt': 'cannot be read completely',
    'two identities': 'the content of an image of another identity',
    'tiny': 'few pixels',
    'aspect': 'height over width unlike that of a person',
    'blank': 'one color',
    'duplicate': 'the content of another image',
    'near-duplicate, two identities': 'nearly an image of another identity',
    'near-duplicate': 'nearly another image',
}
"""Every kind of problem, the worst first."""
ERRORS = ('corrupt', 'two identities')
"""Kinds that a training should not see."""

_HASH_SIDE = 16
_MOST_PIXELS = 40_000_000  # as LoadReIDImage
_BLANK = 2  # standard deviation of gray values
_MARGIN = 0.05  # of the standard deviation: in flat regions, noise would decide which pixel is lighter


class Problem(NamedTuple):
    """A problem of an image.

    Attributes:
        path: The image.
        kind: One of :data:`PROBLEMS`.
        detail: Size, reason, or distance.
        other: The image that it is compared with, or nothing.
    """

    path: str
    kind: str
    detail: str
    other: str = ''


class _Content(NamedTuple):
    error: str
    width: int = 0
    height: int = 0
    digest: bytes = b''
    hash: bytes | None = None


def inspect_images(
    paths: Sequence[str],
    pids: Sequence[object] | None = None,
    min_size: tuple[int, int] = (16, 32),
    aspect: tuple[float, float] = (1.0, 5.0),
    near_bits: int | None = 20,
    workers: int = 1,
) -> list[Problem]:
    """Read images and list what is wrong with them.

    Args:
        paths: The files.
        pids: Identity of each; empty, None or negative = unknown.
        min_size: Smallest width and height in pixels.
        aspect: Smallest and largest height over width.
        near_bits: Images are nearly the same if at most so many of the 256 bits of their difference hashes differ: is
            a pixel lighter than its left neighbor, in gray and at 17 x 16 pixels? None does not compare.
        workers: Processes that read.

    Returns:
        Problems by kind, the worst first, in the order of the images. An image may have several. Copies and nearly
        equal images are listed once each, with the first image that they are like.
    """
    known = [None if pid is None or pid in ('', -1) else pid for pid in pids or [None] * len(paths)]
    contents = list(tqdm(_read_all(paths, workers), 'reading images', len(paths), disable=None))
    problems = [
        Problem(path, *found)
        for path, content in zip(paths, contents, strict=True)
        for found in _alone(content, min_size, aspect)
    ]
    firsts: dict[bytes, int] = {}
    for row, content in enumerate(contents):
        if content.error:
            continue
        first = firsts.setdefault(content.digest, row)
        if first != row:
            kind = 'two identities' if _differ(known[first], known[row]) else 'duplicate'
            problems.append(Problem(paths[row], kind, _pids(known[first], known[row]), paths[first]))
    rows = [row for row in firsts.values() if contents[row].hash is not None]
    if near_bits is not None and rows:
        hashes = np.array([np.frombuffer(contents[row].hash or b'', np.uint8) for row in rows])
        for one, other, bits in near_duplicates(hashes, near_bits):
            first, row = rows[one], rows[other]
            kind = 'near-duplicate' + ', two identities' * _differ(known[first], known[row])
            detail = ', '.join(filter(None, [f'{bits} of 256 bits differ', _pids(known[first], known[row])]))
            problems.append(Problem(paths[row], kind, detail, paths[first]))
    order = list(PROBLEMS)
    return sorted(problems, key=lambda problem: order.index(problem.kind))


def near_duplicates(hashes: np.ndarray, most_bits: int) -> Iterator[tuple[int, int, int]]:
    """Find the first earlier hash that each hash is close to.

    All pairs are compared, by matrix products of blocks: 100,000 hashes of 256 bits take about a minute of a core, and
    100 MB beside 100 MB for their bits.

    Args:
        hashes: (N, B) uint8, of 8 B bits each.
        most_bits: Largest number of bits that differ.

    Yields:
        The earlier row, the row, and how many bits differ.

    Example:
        >>> list(near_duplicates(np.array([[0b1111], [0b0000], [0b0111]], np.uint8), 1))
        [(0, 2, 1)]
    """
    signs = np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1
    number, bits = signs.shape
    step = max(1, 2**24 // max(number, 1))
    least = bits - 2 * most_bits  # the product of two rows of signs is bits - 2 * (bits that differ)
    for start in range(0, number, step):
        stop = min(start + step, number)
        products = signs[start:stop] @ signs[:stop].T
        close = np.tril(products >= least, start - 1)
        first = close.argmax(1)
        for row in np.flatnonzero(close.any(1)):
            yield int(first[row]), start + int(row), int(bits - products[row, first[row]]) // 2


def _read_all(paths: Sequence[str], workers: int) -> Iterable[_Content]:
    if workers == 1:
        yield from map(_read, paths)
        return
    # A fork imports nothing again; the children only read.
    with ProcessPoolExecutor(workers, multiprocessing.get_context('fork')) as pool:
        yield from pool.map(_read, paths, chunksize=max(1, min(256, len(paths) // (4 * workers))))


def _read(path: str) -> _Content:
    try:
        with open(path, 'rb') as file:
            digest = hashlib.file_digest(file, 'blake2b').digest()
            file.seek(0)
            with Image.open(file) as image:
                image.verify()  # the checksums of PNG
            file.seek(0)
            with Image.open(file) as image:
                width, height = image.size
                if width * height > _MOST_PIXELS:
                    raise ValueError(f'{width} x {height} pixels are more than {_MOST_PIXELS:,}')
                upright = as_rgb(image)
                width, height = upright.size
                # One column more than rows, for the differences.
                size = (_HASH_SIDE + 1, _HASH_SIDE)
                gray = np.asarray(upright.convert('L').resize(size, Image.Resampling.BOX), np.int16)
    except Exception as error:  # PIL raises many kinds
        return _Content(' '.join(str(error).split()) or type(error).__name__)
    spread = gray.std()
    lighter = np.diff(gray) > _MARGIN * spread
    return _Content('', width, height, digest, None if spread < _BLANK else np.packbits(lighter).tobytes())


def _alone(
    content: _Content, min_size: tuple[int, int], aspect: tuple[float, float]
) -> Iterator[tuple[str, str]]:
    if content.error:
        yield 'corrupt', content.error
        return
    size = f'{content.width} x {content.height} pixels'
    if content.width < min_size[0] or content.height < min_size[1]:
        yield 'tiny', size
    if not aspect[0] <= content.height / content.width <= aspect[1]:
        yield 'aspect', size
    if content.hash is None:
        yield 'blank', size


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _pids(one: object, other: object) -> str:
    return f'identities {other} and {one}' if _differ(one, other) else ''
