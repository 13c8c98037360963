"""VeRi-776 (Liu et al., ICME and ECCV 2016)."""

from collections.abc import Mapping
from typing import ClassVar

from glc.registry import DATASETS

from .base import Counts
from .market_layout import MarketLayout, NameScheme


@DATASETS.register_module()
class VeRi776(MarketLayout):
    """VeRi-776: vehicles in 20 cameras, 576 for training and 200 for tests.

    File names are ``PPPP_cCCC_FFFFFFFF_D.jpg`` (vehicle, camera, time, detection). Nobody has published in how many of
    the cameras the test images are, so that number is not checked. Takes the arguments of :class:`BaseReIDDataset`.

    For research only, sent on request: vehiclereid.github.io/VeRi.

    Raises:
        ValueError: If a file name does not follow the scheme.

    Example:
        >>> from glc.datasets import VeRi776
        >>> VeRi776.parse('0001_c001_00016450_0.jpg')
        (1, 0)
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'VeRi-776'}
    names = NameScheme('VeRi-776', 'PPPP_cCCC_FFFFFFFF_D.jpg', r'(?P<pid>\d{4})_c(?P<cam>\d+)_\d+_\d+')
    folders: ClassVar[Mapping[str, str]] = {
        'train': 'image_train',
        'query': 'image_query',
        'gallery': 'image_test',
    }
    layout = names.layout(folders)
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=37778, ids=576, cams=20),
        'query': Counts(images=1678, ids=200, cams=None),
        'gallery': Counts(images=11579, ids=200, cams=None),
    }
