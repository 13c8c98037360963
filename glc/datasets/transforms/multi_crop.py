"""Several crops of one image, for self-supervised pre-training."""

import random
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image, ImageFilter
from torchvision import transforms as tv

from glc.core.parameters import AT_LEAST_ONE, SHARE, Several, check_parameters, checked
from glc.registry import TRANSFORMS
from glc.structures import ReIDDataSample

_SIZE = [Several(Integral, 1, None, closed='left', count=2)]
_SCALE = [Several(Real, 0, 1, closed='right', count=2, rising=True)]
_PART = [Several(Real, 0, 1, closed='both', count=2, rising=True)]


@TRANSFORMS.register_module()
class PartMultiCrop(BaseTransform):
    """Two global crops of an image and several local crops of each of its parts, each augmented by itself.

    The augmentation of PASS (Zhu et al., ECCV 2022), in this order:

    - a window of random area and of aspect 3/4 to 4/3, resized (bicubic, pillow);
    - flip, with probability 0.5;
    - color jitter (brightness 0.4, contrast 0.4, saturation 0.2, hue 0.1), with probability 0.8;
    - gray, with probability 0.2;
    - blur;
    - solarization, of the second global crop only.

    Everything is drawn from the global generators of Python and torch, which ``Draw`` seeds per image.

    Required key: ``img`` (H, W, 3) uint8 BGR. Added key: ``crops``, a dict of lists of such images: ``'global'``,
    two, and ``'local'``, ``crops_per_part`` of each part, in the order of the parts.

    Args:
        global_size: ``(width, height)`` of a global crop in pixels, in mmcv's order.
        local_size: ``(width, height)`` of a local crop.
        global_scale: Smallest and largest area of the window of a global crop, as fractions of the image.
        local_scale: The same of a local crop, as fractions of its part.
        parts: Top and bottom of each part, as fractions of the image's height: the upper, middle and lower half.
        crops_per_part: Local crops of each part.
        blur: Probability of blur for the first and second global crop and for local crops.
        blur_radius: Smallest and largest standard deviation of the blur, in pixels of the crop.
        solarise: Probability of solarization (values from 128 on are inverted) of the second global crop.

    Example:
        >>> import numpy as np
        >>> crop = PartMultiCrop(global_size=(32, 64), local_size=(16, 32))
        >>> crops = crop(dict(img=np.zeros((128, 64, 3), np.uint8)))['crops']
        >>> [(len(images), images[0].shape) for images in crops.values()]
        [(2, (64, 32, 3)), (9, (32, 16, 3))]
    """

    @checked(
        global_size=_SIZE,
        local_size=_SIZE,
        global_scale=_SCALE,
        local_scale=_SCALE,
        crops_per_part=AT_LEAST_ONE,
        blur=[Several(Real, 0, 1, closed='both', count=3)],
        blur_radius=[Several(Real, 0, None, closed='left', count=2, rising=True)],
        solarise=SHARE,
    )
    def __init__(
        self,
        global_size: tuple[int, int] = (128, 256),
        local_size: tuple[int, int] = (64, 128),
        global_scale: tuple[float, float] = (0.4, 1.0),
        local_scale: tuple[float, float] = (0.1, 0.8),
        parts: Sequence[tuple[float, float]] = ((0.0, 0.5), (0.25, 0.75), (0.5, 1.0)),
        crops_per_part: int = 3,
        blur: tuple[float, float, float] = (1.0, 0.1, 0.5),
        blur_radius: tuple[float, float] = (0.1, 2.0),
        solarise: float = 0.2,
    ) -> None:
        for part in parts:
            check_parameters(self, {'parts': part}, {'parts': _PART})
        self.global_size = tuple(global_size)
        self.local_size = tuple(local_size)
        self.parts = tuple(map(tuple, parts))
        self.crops_per_part = crops_per_part
        self.blur_radius = tuple(blur_radius)
        self.views = [
            self._view(self.global_size, global_scale, blur[0]),
            self._view(self.global_size, global_scale, blur[1], solarise),
        ]
        self.local_view = self._view(self.local_size, local_scale, blur[2])

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add ``crops``."""
        image = Image.fromarray(np.ascontiguousarray(results['img'][..., ::-1]))
        width, height = image.size
        regions = [
            image.crop((0, int(top * height), width, int(bottom * height))) for top, bottom in self.parts
        ]
        results['crops'] = {
            'global': [_bgr(view(image)) for view in self.views],
            'local': [
                _bgr(self.local_view(region)) for region in regions for _ in range(self.crops_per_part)
            ],
        }
        return results

    def _view(
        self, size: Sequence[int], scale: tuple[float, float], blur: float, solarise: float = 0.0
    ) -> tv.Compose:
        return tv.Compose(
            [
                tv.RandomResizedCrop(size[::-1], scale, interpolation=tv.InterpolationMode.BICUBIC),
                tv.RandomHorizontalFlip(),
                tv.RandomApply([tv.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
                tv.RandomGrayscale(p=0.2),
                tv.RandomApply([self._blurred], p=blur),
                tv.RandomSolarize(threshold=128, p=solarise),
            ]
        )

    def _blurred(self, image: Image.Image) -> Image.Image:
        return image.filter(ImageFilter.GaussianBlur(random.uniform(*self.blur_radius)))

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(global_size={self.global_size}, local_size={self.local_size}, '
            f'parts={self.parts}, crops_per_part={self.crops_per_part})'
        )


@TRANSFORMS.register_module()
class PackMultiCrop(BaseTransform):
    """Packing of the crops of an image for the model.

    Required key: ``crops``. The output is ``dict(inputs=..., data_samples=...)``: one uint8 tensor (V, 3, H, W) per
    kind of crop, still BGR, and a :class:`~glc.structures.ReIDDataSample`. It has ``sample_idx`` and ``img_path`` only,
    since pre-training has no use for an identity or a camera.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return the packed crops."""
        inputs = {
            name: torch.from_numpy(np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)))
            for name, crops in results['crops'].items()
        }
        metainfo = {key: results[key] for key in ('sample_idx', 'img_path') if key in results}
        return {'inputs': inputs, 'data_samples': ReIDDataSample(metainfo=metainfo)}

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


def _bgr(image: Image.Image) -> np.ndarray:
    return np.asarray(image)[..., ::-1]
