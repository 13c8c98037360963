"""Images that anybody hands over: files, folders, arrays, crops of a video."""

import csv
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from mmengine.logging import print_log
from PIL import Image
from torch import Tensor

from glc.core.labels import as_tensor
from glc.core.parameters import StrOptions, checked
from glc.datasets import BaseReIDDataset
from glc.datasets.walk import is_image, walk
from glc.utils.images import as_rgb

__all__ = ['ListedImage', 'ListedImages', 'NamedImage', 'list_images', 'video_crops']

_WILDCARDS = frozenset('*?[')
_BOX = ('frame', 'id', 'left', 'top', 'width', 'height')


class NamedImage(NamedTuple):
    """An image with a name of one's own, and what is known about it.

    Attributes:
        name: Its name, among the features and in results.
        image: A file, an array, a tensor or a PIL image.
        pid: Identity, -1 where unknown.
        cam_id: Camera, -1 where unknown.
    """

    name: str
    image: Any
    pid: int = -1
    cam_id: int = -1


class ListedImage(NamedTuple):
    """An image as a data set takes it.

    Attributes:
        name: Its name.
        info: ``img_path``, and ``img`` (H, W, 3) uint8 BGR of an image in memory.
        place: Where patterns for identity and camera look: the path below the folder that was given, with forward
            slashes; None for an image whose identity and camera are the next two.
        pid: Identity, -1 where unknown.
        cam_id: Camera, -1 where unknown.
    """

    name: str
    info: dict[str, Any]
    place: str | None = None
    pid: int = -1
    cam_id: int = -1


class ListedImages(BaseReIDDataset):
    """A data set of listed images.

    Args:
        images: The images.
        pipeline: Transforms, as objects or configs.
        unreadable: As in :class:`~glc.datasets.BaseReIDDataset`.
    """

    def __init__(self, images: Sequence[ListedImage], pipeline: Sequence, unreadable: str = 'error') -> None:
        self._images = images
        super().__init__('', pipeline=pipeline, unreadable=unreadable, serialize_data=False)

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """List the images; ``position`` is that in the list that was given."""
        infos = [
            {**image.info, 'pid': image.pid, 'cam_id': image.cam_id, 'is_query': False, 'position': position}
            for position, image in enumerate(self._images)
        ]
        return self._readable(infos) if self.unreadable == 'skip' else infos

    @property
    def positions(self) -> list[int]:
        """Positions of the images in the list that was given; unreadable ones are left out."""
        return [info['position'] for info in self.data_list]


@checked(color=[StrOptions({'bgr', 'rgb'})])
def list_images(inputs: Any, color: str = 'bgr') -> Iterator[ListedImage]:
    """List images of any form, files by their path, images in memory as ``image_0``, ``image_1`` and so on.

    Args:
        inputs: One or several of these. An iterator is read as far as it is needed.

            - A path: an image file, a folder (the images in it at any depth), or a pattern with ``*``, ``?`` or ``[``.
            - An array (H, W, 3) or (N, H, W, 3), uint8.
            - A tensor (3, H, W) or (N, 3, H, W), uint8, or float in [0, 1].
            - A PIL image; its EXIF turns it, as that of a file does.
            - :class:`NamedImage`, whose image is one of these.
        color: Order of the channels in arrays and tensors, ``'bgr'`` (OpenCV) or ``'rgb'``.

    Yields:
        The images.

    Raises:
        FileNotFoundError: If there is no such file, or no image in a folder or for a pattern.
        TypeError: If an input is none of these.
        ValueError: If an array or tensor has another shape, type or range.

    Example:
        >>> [image.name for image in list_images([Image.new('RGB', (64, 128)), np.zeros((2, 8, 4, 3), np.uint8)])]
        ['image_0', 'image_1', 'image_2']
    """
    several = isinstance(inputs, Iterable) and not isinstance(
        inputs, (str, os.PathLike, np.ndarray, Tensor, NamedImage)
    )
    number = 0
    for source in inputs if several else [inputs]:
        known = source if isinstance(source, NamedImage) else None
        image = source if known is None else known.image
        if isinstance(image, (str, os.PathLike)):
            for name, place in _files(os.fspath(image)):
                found = ListedImage(name, {'img_path': name}, place)
                yield (
                    found
                    if known is None
                    else found._replace(name=known.name, place=None, pid=known.pid, cam_id=known.cam_id)
                )
            continue
        for pixels in _pixels(image, color == 'rgb'):
            name = f'image_{number}' if known is None else known.name
            info = {
                'img_path': name,
                'img': pixels,
                'img_shape': pixels.shape[:2],
                'ori_shape': pixels.shape[:2],
            }
            yield ListedImage(name, info, None, *(known[2:] if known else ()))
            number += 1


def video_crops(
    frames: str | Path | Iterable[np.ndarray],
    boxes: str | Path | Iterable[Sequence[float]],
    name: str | None = None,
) -> Iterator[NamedImage]:
    """Cut the people out of a video, frame by frame.

    Args:
        frames: A video file that OpenCV reads, or its frames (H, W, 3) uint8, BGR where OpenCV read them.
        boxes: A CSV file, or rows ``frame, id, left, top, width, height``. Frames are numbered from 1, boxes are in
            pixels, the id is that of a track and -1 where nobody knows it: the format of the MOT challenge, whose
            further columns are ignored. A file with a header may have its columns in any order, and no ``id``.
        name: Beginning of the names; by default the name of the video file, else ``frames``.

    Yields:
        A crop of every box, named ``NAME/FRAME_ID_NUMBER``, with the track as its identity. A box is cut where the
        frame ends; boxes outside of the frame are left out, and a warning tells how many.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If OpenCV cannot read the video, a row is no box, or the video ends before the last box.

    Example:
        >>> crops = list(video_crops([np.zeros((9, 9, 3), np.uint8)] * 2, [(1, 7, 0, 0, 2, 4), (2, 7, 6, 5, 9, 9)]))
        >>> [(crop.name, crop.image.shape, crop.pid) for crop in crops]
        [('frames/000001_7_0', (4, 2, 3), 7), ('frames/000002_7_1', (4, 3, 3), 7)]
    """
    by_frame = _boxes(boxes)
    of_file = isinstance(frames, (str, os.PathLike))
    start = name or (Path(frames).name if isinstance(frames, (str, os.PathLike)) else 'frames')
    images = _decoded(Path(frames)) if isinstance(frames, (str, os.PathLike)) else frames
    last, number, outside, count = max(by_frame, default=0), 0, 0, 0
    for count, frame in enumerate(images, 1):
        for track, left, top, width, height in by_frame.get(count, ()):
            x, y = max(round(left), 0), max(round(top), 0)
            crop = frame[y : max(round(top + height), 0), x : max(round(left + width), 0)]
            if crop.size:
                yield NamedImage(f'{start}/{count:06d}_{track}_{number}', crop, track)
            outside += not crop.size
            number += 1
        if count == last:
            break
    if count < last:
        what = f"'{Path(os.fspath(frames)).absolute()}'" if of_file else 'the video'  # type: ignore[arg-type]
        where = f" in '{Path(boxes).absolute()}'" if isinstance(boxes, (str, os.PathLike)) else ''
        raise ValueError(f'{what} ends after frame {count}, but there are boxes of frame {last}{where}')
    if outside:
        print_log(
            f'{start}: left out {outside:,} of {number:,} boxes, which are outside of the frame',
            logger='current',
            level=logging.WARNING,
        )


def _files(path: str) -> Iterator[tuple[str, str]]:
    """Find image files; yield the path of each, and the part of it in which patterns are searched."""
    if os.path.isdir(path):
        found = walk(path)
        if not found.images:
            others = ', '.join(
                f'{number:,} {ending or "without an ending"}'
                for ending, number in found.other_endings.items()
            )
            raise FileNotFoundError(
                f"no image in '{os.path.abspath(path)}'; found there: {others or 'nothing'}"
            )
        for name in found.images:
            yield os.path.join(path, name), name
    elif os.path.exists(path):
        yield path, Path(path).as_posix()
    elif _WILDCARDS & set(path):
        names = sorted(name for name in glob(path, recursive=True) if is_image(name) and os.path.isfile(name))
        if not names:
            raise FileNotFoundError(f"no image matches '{os.path.abspath(path)}'")
        for name in names:
            yield name, Path(name).as_posix()
    else:
        raise FileNotFoundError(
            f"'{os.path.abspath(path)}' does not exist: neither an image file nor a folder"
        )


def _pixels(image: Any, rgb: bool) -> Iterator[np.ndarray]:
    """Yield images (H, W, 3) uint8 BGR."""
    if isinstance(image, Image.Image):
        array, rgb = np.asarray(as_rgb(image)), True
    elif isinstance(image, Tensor):
        array = _of_tensor(image)
    elif isinstance(image, np.ndarray):
        array = image
    else:
        raise TypeError(
            f'an image is a path, an array, a tensor, a PIL image or a NamedImage, not a {type(image).__name__}'
        )
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or not array.size:
        raise ValueError(
            'images must be arrays (H, W, 3) or (N, H, W, 3) of uint8, or tensors (3, H, W) or (N, 3, H, W) of uint8 '
            f'or of floats in [0, 1]; got {type(image).__name__} {tuple(image.shape)} of {image.dtype}'
        )
    for pixels in array if array.ndim == 4 else array[None]:
        yield np.ascontiguousarray(pixels[..., ::-1] if rgb else pixels)


def _of_tensor(image: Tensor) -> np.ndarray:
    image = as_tensor(image, 'images').cpu()
    if image.is_floating_point() and image.numel():
        image = image.float()
        low, high = image.min().item(), image.max().item()
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f'the values of a float image must be in [0, 1], got {low:.3g} to {high:.3g}: the network normalizes '
                'by itself'
            )
        image = (image * 255).round().to(torch.uint8)
    array = image.resolve_conj().numpy()
    return np.moveaxis(array, -3, -1) if array.ndim >= 3 else array


def _boxes(boxes: str | Path | Iterable[Sequence[float]]) -> Mapping[int, list[tuple]]:
    if isinstance(boxes, (str, os.PathLike)):
        try:
            return _boxes(list(_read_boxes(Path(boxes))))
        except (ValueError, csv.Error) as error:
            raise ValueError(f"'{Path(boxes).absolute()}': {error}") from error
    by_frame: dict[int, list[tuple]] = defaultdict(list)
    for number, row in enumerate(boxes, 1):
        try:
            frame, track, *box = (float(value) for value in row[: len(_BOX)])
            left, top, width, height = box
        except ValueError:
            raise ValueError(f'box {number} must be {", ".join(_BOX)}, got {list(row)}') from None
        whole = frame.is_integer() and track.is_integer()
        if not (whole and frame >= 1 and width > 0 and height > 0 and np.isfinite(box).all()):
            raise ValueError(
                f'box {number} must have a frame from 1, a whole id, numbers, and a width and height above 0, got '
                f'{list(row)}'
            )
        by_frame[int(frame)].append((int(track), left, top, width, height))
    return by_frame


def _read_boxes(path: Path) -> Iterator[Sequence[Any]]:
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = (row for row in csv.reader(file) if row)
        first = next(rows, [])
        names = [name.strip().lower() for name in first]
        if not set(names) & set(_BOX):  # no header
            if first:
                yield first
            yield from rows
            return
        missing = set(_BOX) - {'id'} - set(names)
        if missing:
            raise ValueError(f'it lacks the columns {", ".join(sorted(missing))}; it has {names}')
        for row in rows:
            values = {'id': -1, **dict(zip(names, row, strict=False))}
            yield [values.get(name) or '' for name in _BOX]


def _decoded(path: Path) -> Iterator[np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f"'{path.absolute()}' does not exist")
    video = cv2.VideoCapture(str(path))
    try:
        if not video.isOpened():
            raise ValueError(f"OpenCV cannot read the video '{path.absolute()}'")
        while (read := video.read())[0]:
            yield read[1]
    finally:
        video.release()
