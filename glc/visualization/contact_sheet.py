"""All images of a cluster in one picture."""

import math
from collections.abc import Sequence
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw

from glc.utils.images import as_rgb

__all__ = ['contact_sheet', 'spread', 'thumbnail']

_JOINED = (212, 125, 20)
_GAP = 6
_HEADER = 18


def contact_sheet(
    paths: Sequence[str | PathLike],
    title: str = '',
    framed: Sequence[bool] | np.ndarray | None = None,
    size: tuple[int, int] = (64, 128),
    most: int = 500,
) -> Image.Image:
    """Draw images side by side, in rows, under a title.

    Args:
        paths: N image files.
        title: Text above them.
        framed: Whether an image (N,) has an orange frame; None: none has.
        size: ``(width, height)`` of one image in pixels.
        most: Images drawn; of more than these, as many that are evenly spread, and the title says so.

    Returns:
        An RGB image.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Image.new('RGB', (32, 64)).save(f'{folder}/a.png')
        ...     contact_sheet([f'{folder}/a.png'] * 3, 'one person').size
        (216, 158)
    """
    width, height = size
    shown = spread(len(paths), most)
    if len(shown) < len(paths):
        title += f', {len(shown)} of them shown'
    columns = max(1, math.ceil(math.sqrt(2.5 * len(shown))))
    lines = math.ceil(len(shown) / columns)
    picture = Image.new(
        'RGB', (columns * (width + _GAP) + _GAP, _HEADER + lines * (height + _GAP) + _GAP), 'white'
    )
    draw = ImageDraw.Draw(picture)
    draw.text((_GAP, _HEADER // 2 + _GAP // 2), title, fill='black', anchor='lm')
    for place, row in enumerate(shown):
        x, y = _GAP + place % columns * (width + _GAP), _HEADER + _GAP + place // columns * (height + _GAP)
        if framed is not None and framed[row]:
            draw.rectangle((x - 3, y - 3, x + width + 2, y + height + 2), fill=_JOINED)
        picture.paste(thumbnail(paths[row], size), (x, y))
    return picture


def thumbnail(path: str | PathLike, size: tuple[int, int]) -> Image.Image:
    """Read an image file at a size ``(width, height)``, in RGB."""
    with Image.open(path) as image:
        image.draft('RGB', size)  # a large JPEG is decoded at a fraction of its size
        return as_rgb(image).resize(size, Image.Resampling.BICUBIC)


def spread(number: int, most: int) -> list[int]:
    """Return at most so many of the numbers from 0, evenly spread.

    Example:
        >>> spread(3, 5), spread(10, 4)
        ([0, 1, 2], [0, 3, 6, 9])
    """
    return np.linspace(0, number - 1, min(number, most)).round().astype(int).tolist()
