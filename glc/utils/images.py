"""Images of PIL as the pipelines decode them."""

import numpy as np
from PIL import Image, ImageOps

__all__ = ['as_rgb']


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an image upright and in RGB of 8 bits, as :class:`~glc.datasets.transforms.LoadReIDImage` decodes files.

    Cameras write into EXIF how an image is to be turned; PIL leaves that to its user. And PIL makes nearly everything
    white in gray images of 16 bits, whose lower 8 bits are left out here.

    Example:
        >>> as_rgb(Image.fromarray(np.full((4, 2), 25700, np.uint16))).getpixel((0, 0))
        (100, 100, 100)
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I;16'):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert('RGB')
