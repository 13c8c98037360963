"""Images of PIL as the pipelines decode them, and pictures as files hold them."""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ['as_rgb', 'check_depth', 'encoded']


def check_depth(image: Image.Image) -> None:
    """Refuse an image whose pixels have 32 bits: which of their values is white stands nowhere.

    Raises:
        ValueError: The pixels are floats or integers of 32 bits.
    """
    if image.mode in ('F', 'I') and image.format != 'PNG':  # older PIL opens PNG of 16 bits as I
        kind = 'floats' if image.mode == 'F' else 'integers'
        raise ValueError(f'its pixels are {kind} of 32 bits: scale them to 0..255, and save 8 bits')


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an image upright and in RGB of 8 bits, as :class:`~glc.datasets.transforms.LoadReIDImage` decodes files.

    Cameras write into EXIF how an image is to be turned; PIL leaves that to its user. And PIL makes nearly everything
    white in gray images of 16 bits, whose lower 8 bits are left out here.

    Raises:
        ValueError: The pixels have 32 bits.

    Example:
        >>> as_rgb(Image.fromarray(np.full((4, 2), 25700, np.uint16))).getpixel((0, 0))
        (100, 100, 100)
    """
    check_depth(image)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert('RGB')


def encoded(picture: 'Image.Image | Figure', ending: str, **options: Any) -> bytes:
    """Return what a file of a picture holds. PIL does not notice where a full disk cuts off a file that it writes.

    Args:
        picture: A picture of PIL or matplotlib.
        ending: Ending of the file, which decides on the format, such as ``'.png'``.
        **options: Of the ``save`` or ``savefig`` of the picture; a figure has 120 dots per inch by default.

    Raises:
        ValueError: Nothing writes files of this ending.

    Example:
        >>> encoded(Image.new('RGB', (2, 2)), '.png')[1:4]
        b'PNG'
    """
    buffer = io.BytesIO()
    if isinstance(picture, Image.Image):
        buffer.name = f'picture{ending}'  # PIL takes the format from it
        picture.save(buffer, **options)
    else:
        picture.savefig(buffer, format=ending[1:], **{'dpi': 120, **options})
    return buffer.getvalue()
