"""Random augmentations. All of them draw from Python's global generator, which ``Draw`` seeds per image."""

import math
import random
from numbers import Integral, Real
from typing import Any

import cv2
from mmcv.transforms import BaseTransform

from glc.core.parameters import AT_LEAST_ONE, BOOLEAN, SHARE, Interval, Several, checked
from glc.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadRandomCrop(BaseTransform):
    """Crop of fixed size at a uniformly random place of the image, padded with black on all four sides.

    Required keys: ``img`` (H, W, 3). Modified keys: ``img``, ``img_shape``.

    Args:
        padding: Pixels added on each side.
        size: ``(width, height)`` of the window in pixels, in mmcv's order.

    Raises:
        ValueError: If the padded image is smaller than the window.

    Example:
        >>> import numpy as np
        >>> from glc.datasets.transforms import PadRandomCrop
        >>> results = PadRandomCrop(padding=10, size=(128, 256))(dict(img=np.ones((256, 128, 3), np.uint8)))
        >>> results['img'].shape
        (256, 128, 3)
    """

    @checked(
        padding=[Interval(Integral, 0, None, closed='left')],
        size=[Several(Integral, 1, None, closed='left', count=2)],
    )
    def __init__(self, padding: int = 10, size: tuple[int, int] = (128, 256)) -> None:
        self.padding = padding
        self.size = tuple(size)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Replace the image by a random window of the padded image."""
        pad = self.padding
        width, height = self.size
        image = results['img']
        if image.strides[1] < 0:  # NumPy's mirror image, which OpenCV would copy value by value
            image = cv2.flip(image[:, ::-1], 1)
        padded = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        spare_y, spare_x = padded.shape[0] - height, padded.shape[1] - width
        if spare_y < 0 or spare_x < 0:
            raise ValueError(
                f'PadRandomCrop cannot cut {width}x{height} from an image of '
                f'{results["img"].shape[1]}x{results["img"].shape[0]} padded by {pad}: put a Resize before it'
            )
        y, x = random.randint(0, spare_y), random.randint(0, spare_x)
        results['img'] = padded[y : y + height, x : x + width]
        results['img_shape'] = (height, width)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(padding={self.padding}, size={self.size})'


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Choice of the rectangle of Random Erasing (Zhong et al., AAAI 2020).

    Only the rectangle is drawn here: the published recipes fill it *after* normalization, so the model's data
    preprocessor does.

    Required keys: ``img`` (H, W, 3). Added keys: ``erase_box``, ``(y, x, h, w)`` in pixels, and with ``noise``
    ``erase_seed``; absent where nothing is to be erased.

    Args:
        prob: Probability that an image gets a rectangle.
        area: Smallest and largest area of the rectangle, as fractions of the image.
        aspect: Smallest and largest height / width of the rectangle.
        attempts: Rectangles tried until one fits into the image; none is erased when all fail.
        log_aspect: Draw the logarithm of the aspect uniformly, not the aspect.
        noise: Fill with noise of N(0, 1) in every pixel and channel, not with the color of the preprocessor.

    Example:
        >>> import numpy as np
        >>> from glc.datasets.transforms import RandomErasing
        >>> results = RandomErasing(prob=1.0)(dict(img=np.zeros((256, 128, 3), np.uint8)))
        >>> y, x, h, w = results['erase_box']
        >>> 0 <= y <= 256 - h and 0 <= x <= 128 - w
        True
    """

    @checked(
        prob=SHARE,
        area=[Several(Real, 0, 1, closed='right', count=2, rising=True)],
        aspect=[Several(Real, 0, None, closed='neither', count=2, rising=True)],
        attempts=AT_LEAST_ONE,
        log_aspect=BOOLEAN,
        noise=BOOLEAN,
    )
    def __init__(
        self,
        prob: float = 0.5,
        area: tuple[float, float] = (0.02, 0.4),
        aspect: tuple[float, float] = (0.3, 3.33),
        attempts: int = 100,
        log_aspect: bool = False,
        noise: bool = False,
    ) -> None:
        self.prob = prob
        self.area = tuple(area)
        self.aspect = tuple(aspect)
        self.attempts = attempts
        self.log_aspect = log_aspect
        self.noise = noise

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``erase_box`` with probability ``prob``."""
        if random.random() >= self.prob:
            return results
        height, width = results['img'].shape[:2]
        for _ in range(self.attempts):
            area = random.uniform(*self.area) * height * width
            aspect = self._draw_aspect()
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                results['erase_box'] = (random.randint(0, height - h), random.randint(0, width - w), h, w)
                if self.noise:
                    results['erase_seed'] = random.getrandbits(32)
                break
        return results

    def _draw_aspect(self) -> float:
        low, high = self.aspect
        return (
            math.exp(random.uniform(math.log(low), math.log(high)))
            if self.log_aspect
            else random.uniform(low, high)
        )

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(prob={self.prob}, area={self.area}, aspect={self.aspect}, '
            f'attempts={self.attempts}, log_aspect={self.log_aspect}, noise={self.noise})'
        )
