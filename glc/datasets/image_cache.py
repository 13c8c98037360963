"""Images that are decoded and resized once, in memory that worker processes share."""

from __future__ import annotations

import hashlib
import logging
import mmap
import os
import weakref
import zlib
from collections.abc import Callable, Sequence
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any, Self

import mmcv.transforms
import numpy as np
from mmengine.dataset import Compose
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from glc.utils.available_memory import available_memory

from .transforms import LoadReIDImage, Resize

SHARE = 0.25
"""Share of the available memory that the images of one data set may take."""


class ImageCache:
    """Decoded and resized images of a data set, in one block that all worker processes share.

    It stands for the first two steps of a pipeline, ``LoadReIDImage`` and ``Resize`` to one size, and gives what they
    give. Whoever needs an image first decodes it and puts it into the block; a checksum beside it says that it is
    complete. So the block needs neither a lock nor a start, and a half-written or damaged image is decoded again.

    The block is memory of this process and its workers, or a file that any number of processes map. The name of the
    file follows from the images (path, size, time of the last change) and the steps, so changed images get a new file.

    Args:
        steps: ``LoadReIDImage`` and ``Resize``.
        paths: ``img_path`` of every image.
        file: Descriptor of the block, which is closed at the end.

    Raises:
        OSError: If there is no place for the block.
    """

    def __init__(self, steps: Sequence[Any], paths: Sequence[str], file: int) -> None:
        load, resize = steps
        self.steps = load, resize
        self._decode = Compose(list(steps))
        self._paths = paths
        self._rows = {path: row for row, path in enumerate(paths)}
        self._file = file
        width, height = resize.scale
        record = _record(width, height)
        size = len(paths) * record.itemsize
        os.posix_fallocate(file, 0, size)  # or writing to it could end the process where the disk is full
        records = np.ndarray(len(paths), record, mmap.mmap(file, size))
        self._sums, self._shapes, self._images = (records[name] for name in record.names or ())
        # Those whose checksum this process has seen to be right.
        self._right = np.zeros(len(paths), bool)
        weakref.finalize(self, os.close, file)

    @classmethod
    def of(
        cls, pipeline: Compose, paths: Sequence[str], where: str | os.PathLike, name: str = 'images'
    ) -> Self | None:
        """Make the cache of a pipeline, and say in the log how large it is, or why there is none.

        Args:
            pipeline: Pipeline of the data set.
            paths: ``img_path`` of every image; others pass through the cache and are not kept.
            where: 'auto' for memory, of which it takes at most a quarter of what is available, shared among the
                processes of a training; else the folder of the file.
            name: What the log and the file call the data set.
        """
        if not hasattr(os, 'memfd_create'):
            _say_none(name, 'it needs Linux')
            return None
        steps = pipeline.transforms[:2]
        if not paths or not _cacheable(steps):
            reason = 'its pipeline does not begin with LoadReIDImage and Resize to one size'
            _say_none(name, reason if paths else 'its images are not in files')
            return None
        width, height = steps[1].scale
        size = len(paths) * _record(width, height).itemsize
        text = f'{len(paths):,} images of {width} x {height} pixels, {_megabytes(size)}'
        if where == 'auto':
            processes = int(os.environ.get('LOCAL_WORLD_SIZE', get_world_size()))
            place = 'of memory' + (f' in each of {processes} processes' if processes > 1 else '')
            free = available_memory()
            if size * processes > SHARE * free:
                _say_none(
                    name,
                    f'{text} {place} are more than {SHARE:.0%} of what is available ({_megabytes(free)}); '
                    "image_cache='/a/folder' keeps them in a file that all processes share",
                )
                return None
            file = os.memfd_create(name)
        else:
            path = Path(where, f'{name.replace(" ", "_")}_{_digest(paths, steps)}.images')
            path.parent.mkdir(parents=True, exist_ok=True)
            place = f"in '{path.absolute()}'"
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            cache = cls(steps, paths, file)
        except OSError as error:
            os.close(file)
            if where != 'auto':
                path.unlink(missing_ok=True)
            _say_none(name, f'{text} {place}: {error}', logging.WARNING)
            return None
        print_log(f'{name}: image cache for {text} {place}; each image is decoded once', 'current')
        return cache

    def before(self, pipeline: Compose) -> Compose:
        """Return a pipeline with the cache in the place of its first two steps, if they are the same."""
        steps = pipeline.transforms
        if list(map(_settings, steps[:2])) != list(map(_settings, self.steps)):
            return pipeline
        return Compose([self, *steps[2:]])

    def __call__(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add what ``LoadReIDImage`` and ``Resize`` add."""
        row = self._rows.get(results['img_path'])
        if row is None or not self._has(row):
            decoded: dict[str, Any] | None = self._decode(results)
            if row is not None and decoded is not None:
                self._put(row, decoded)
            return decoded
        width, height = self.steps[1].scale
        shape = tuple(self._shapes[row].tolist())
        results['img'] = self._images[row].copy()  # later steps may write to it
        results['img_shape'], results['ori_shape'] = (height, width), shape
        results['scale'], results['keep_ratio'] = (width, height), False
        results['scale_factor'] = width / shape[1], height / shape[0]
        return results

    def _has(self, row: int) -> bool:
        if not self._right[row]:
            self._right[row] = self._sums[row] and self._sums[row] == self._sum(row)
        return bool(self._right[row])

    def _put(self, row: int, results: dict[str, Any]) -> None:
        self._images[row] = results['img']
        self._shapes[row] = results['ori_shape']
        self._sums[row] = self._sum(row)

    def _sum(self, row: int) -> int:
        return zlib.crc32(self._shapes[row], zlib.crc32(self._images[row]))

    def __deepcopy__(self, memo: dict) -> Self:
        return self

    def __reduce__(self) -> tuple:
        return _unpickled, (self.steps, self._paths, DupFd(self._file))

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.steps[0]}, {self.steps[1]}, {len(self._paths)} images)'


def _unpickled(steps: Sequence[Any], paths: Sequence[str], file: Any) -> ImageCache:
    return ImageCache(steps, paths, file.detach())


def _record(width: int, height: int) -> np.dtype:
    return np.dtype([('sum', np.uint32), ('shape', np.int32, (2,)), ('image', np.uint8, (height, width, 3))])


def _cacheable(steps: Sequence[Any]) -> bool:
    """Return whether two steps give uint8 images (H, W, 3) of one size, always the same of a file."""
    if len(steps) < 2:
        return False
    load, resize = steps
    # Not of a subclass, which may draw at random.
    return (
        type(load) is LoadReIDImage
        and load.color_type == 'color'
        and not load.to_float32
        and type(resize) in (Resize, mmcv.transforms.Resize)
        and bool(resize.scale)
        and not resize.keep_ratio
    )


def _settings(step: Callable) -> tuple[type, dict[str, Any]]:
    return type(step), vars(step)


def _digest(paths: Sequence[str], steps: Sequence[Any]) -> str:
    digest = hashlib.sha256(
        repr([(kind.__name__, values) for kind, values in map(_settings, steps)]).encode()
    )
    for path in paths:
        try:
            status = os.stat(path)
            stamp = f'{status.st_size} {status.st_mtime_ns}'
        except OSError:  # not on this machine
            stamp = ''
        digest.update(repr((os.path.realpath(path), stamp)).encode())
    return digest.hexdigest()[:16]


def _megabytes(size: int) -> str:
    return f'{size / 1e6:,.0f} MB'


def _say_none(name: str, reason: str, level: int = logging.INFO) -> None:
    print_log(f'{name}: no image cache: {reason}', 'current', level)
