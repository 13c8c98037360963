"""Where a network looks: its maps over the images."""

from collections.abc import Mapping, Sequence
from os import PathLike

import numpy as np
from PIL import Image, ImageDraw

from glc.utils.images import as_rgb

__all__ = ['draw_attention_maps']

_SHARE = 0.55  # of the color, where a map is laid over an image


def draw_attention_maps(
    paths: Sequence[str | PathLike], maps: Mapping[str, np.ndarray], size: tuple[int, int] = (64, 128)
) -> Image.Image:
    """Draw one row per image: the image, then the image under each map, from blue (least) to red (most).

    Every map has its own least and most.

    Args:
        paths: N image files.
        maps: Maps (N, h, w) by the words that stand above them, as ``attention_maps`` of a backbone returns them.
        size: ``(width, height)`` of one image in pixels.

    Returns:
        An RGB image.

    Raises:
        ValueError: If the maps are not one for each image.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Image.new('RGB', (64, 128)).save(f'{folder}/person.png')
        ...     picture = draw_attention_maps([f'{folder}/person.png'], {'cls': np.eye(8)[None]}, size=(32, 64))
        >>> picture.size
        (76, 84)
    """
    from matplotlib import colormaps

    for name, values in maps.items():
        if np.ndim(values) != 3 or len(values) != len(paths):
            raise ValueError(
                f'map {name!r} must be (N, h, w) for {len(paths)} images, got {np.shape(values)}'
            )
    width, height = size
    gap = max(4, width // 16)
    header = max(12, width // 4)
    step_x, step_y = width + gap, height + gap
    picture = Image.new(
        'RGB', (step_x * (1 + len(maps)) + gap, header + step_y * len(paths) + gap), (255, 255, 255)
    )
    draw = ImageDraw.Draw(picture)
    for column, name in enumerate(['image', *maps]):
        draw.text((gap + step_x * column + width // 2, header // 2), name, fill='black', anchor='mm')
    for row, path in enumerate(paths):
        with Image.open(path) as file:
            image = as_rgb(file).resize(size, Image.Resampling.BICUBIC)
        top = header + gap + step_y * row
        picture.paste(image, (gap, top))
        for column, values in enumerate(maps.values(), 1):
            least, most = values[row].min(), values[row].max()
            scaled = (values[row] - least) / max(most - least, np.finfo(np.float32).tiny)
            smooth = Image.fromarray(scaled.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
            colors = Image.fromarray((255 * colormaps['turbo'](np.asarray(smooth))[..., :3]).astype(np.uint8))
            picture.paste(Image.blend(image, colors, _SHARE), (gap + step_x * column, top))
    return picture
