"""Image transforms: those of re-identification, beside mmcv's (``RandomFlip``, ...)."""

import mmcv.transforms  # noqa: F401  (registers mmcv's transforms in the root registry)

from .augment import PadRandomCrop, RandomErasing
from .formatting import PackReIDInputs
from .loading import LoadReIDImage
from .multi_crop import PackMultiCrop, PartMultiCrop
from .resize import Resize

__all__ = [
    'LoadReIDImage',
    'PackMultiCrop',
    'PackReIDInputs',
    'PadRandomCrop',
    'PartMultiCrop',
    'RandomErasing',
    'Resize',
]
