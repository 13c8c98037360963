"""Rows of small images under titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from glc.utils.images import as_rgb

__all__ = ['COLORS', 'GRAY', 'GREEN', 'RED', 'Color', 'Row', 'Tile', 'draw_image_rows', 'open_image']

Color = tuple[int, int, int]
GREEN, RED, GRAY = (46, 160, 67), (207, 34, 46), (110, 119, 129)
COLORS: tuple[Color, ...] = (
    (31, 119, 180),
    (255, 127, 14),
    (148, 103, 189),
    (23, 190, 207),
    (188, 143, 33),
    (227, 119, 194),
    (140, 86, 75),
    (90, 160, 60),
)
"""Colors that are told apart, for frames."""


@dataclass(frozen=True)
class Tile:
    """A small image.

    Args:
        image: File, or array (H, W, 3) uint8 in RGB.
        color: Color of its frame, R, G, B from 0 to 255; None draws none.
    """

    image: str | PathLike | np.ndarray
    color: Color | None = None


@dataclass(frozen=True)
class Row:
    """Images side by side, under a title.

    Args:
        title: Text above them.
        tiles: The images.
    """

    title: str
    tiles: Sequence[Tile] = field(default_factory=tuple)


def open_image(image: str | PathLike | np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Open an image in RGB at a size ``(width, height)``; where a file cannot be read, a gray area that says so."""
    try:
        if isinstance(image, np.ndarray):
            return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        with Image.open(image) as opened:
            return as_rgb(opened).resize(size, Image.Resampling.BICUBIC)
    except OSError:
        missing = Image.new('RGB', size, (225, 228, 232))
        ImageDraw.Draw(missing).text((size[0] // 2, size[1] // 2), 'no image', 'black', anchor='mm')
        return missing


def draw_image_rows(rows: Sequence[Row], size: tuple[int, int] = (48, 96), columns: int = 16) -> Image.Image:
    """Draw rows of images, each under its title; a row of more than ``columns`` images goes on below.

    Args:
        rows: The rows, at least one.
        size: ``(width, height)`` of an image in pixels.
        columns: Images side by side.

    Returns:
        An RGB image.

    Raises:
        ValueError: There are no rows, or no columns.

    Example:
        >>> crop = np.zeros((128, 64, 3), np.uint8)
        >>> draw_image_rows([Row('cluster 3', [Tile(crop), Tile(crop, RED)])], columns=2).size
        (116, 124)
    """
    if not rows or columns < 1:
        raise ValueError(f'a sheet needs rows and columns, got {len(rows)} and {columns}')
    font = ImageFont.load_default(13)
    width, height = size
    frame = max(2, width // 20)
    step_x, step_y, title = width + 3 * frame, height + 3 * frame, 22
    columns = min(columns, max(1, *(len(row.tiles) for row in rows)))
    lines = [-(-len(row.tiles) // columns) for row in rows]
    widest = max(font.getlength(row.title) for row in rows)
    picture = Image.new(
        'RGB',
        (max(columns * step_x, int(widest)) + 4 * frame, sum(title + step_y * count for count in lines)),
        'white',
    )
    draw = ImageDraw.Draw(picture)
    top = 0
    for row, count in zip(rows, lines, strict=True):
        draw.text((2 * frame, top + title // 2), row.title, 'black', font, anchor='lm')
        for number, tile in enumerate(row.tiles):
            line, column = divmod(number, columns)
            x, y = 2 * frame + column * step_x, top + title + frame + line * step_y
            if tile.color is not None:
                box = (x - frame, y - frame, x + width + frame - 1, y + height + frame - 1)
                draw.rectangle(box, fill=tile.color)
            picture.paste(open_image(tile.image, size), (x, y))
        top += title + step_y * count
    return picture
