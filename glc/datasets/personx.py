"""PersonX (Sun and Zheng, CVPR 2019), in the split that SpCL and Cluster Contrast use."""

from collections.abc import Mapping
from typing import ClassVar

from glc.registry import DATASETS

from .base import Counts
from .market_layout import MARKET_FOLDERS, MarketLayout, NameScheme


@DATASETS.register_module()
class PersonX(MarketLayout):
    """PersonX: rendered people before 6 backgrounds, which count as cameras; 410 for training and 856 for tests.

    File names begin with ``PPPP_cC`` (identity, camera); what follows differs between copies. The cameras have the
    numbers 3, 4, 8, 10, 11 and 12. Takes the arguments of :class:`BaseReIDDataset`.

    The split is that of SpCL and Cluster Contrast; its archive is named on github.com/alibaba/cluster-contrast-reid,
    the license on github.com/sxzrt/Dissecting-Person-Re-ID-from-the-Viewpoint-of-Viewpoint.

    Raises:
        ValueError: If a file name does not follow the scheme.

    Example:
        >>> from glc.datasets import PersonX
        >>> PersonX.parse('0004_c12s2_000030_01.jpg')
        (4, 11)
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'PersonX'}
    names = NameScheme('PersonX', 'PPPP_cC*.jpg', r'(?P<pid>\d+)_c(?P<cam>\d+)')
    layout = names.layout(MARKET_FOLDERS)
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=9840, ids=410, cams=6),
        'query': Counts(images=5136, ids=856, cams=6),
        'gallery': Counts(images=30816, ids=856, cams=6),
    }
