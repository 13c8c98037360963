"""Market-1501 (Zheng et al., ICCV 2015)."""

from collections.abc import Mapping
from typing import ClassVar

from glc.registry import DATASETS

from .base import Counts
from .market_layout import MARKET_FOLDERS, MarketLayout, NameScheme


@DATASETS.register_module()
class Market1501(MarketLayout):
    """Market-1501: 6 cameras, 751 training and 750 test identities.

    File names are ``PPPP_cCsS_FFFFFF_DD.jpg`` (identity, camera, sequence, frame, detection). Gallery images
    of identity -1 are junk and dropped; those of identity 0000 are distractors and kept. Takes the
    arguments of :class:`BaseReIDDataset`.

    For research only; download: zheng-lab.cecs.anu.edu.au, page "Market-1501".

    Raises:
        ValueError: If a file name does not follow the scheme.

    Example:
        >>> from glc.datasets import Market1501
        >>> Market1501.parse('0002_c1s1_000451_03.jpg')
        (2, 0)
        >>> Market1501.parse('-1_c6s4_020051_02.jpg')
        (-1, 5)
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'Market1501'}
    names = NameScheme(
        'Market-1501', 'PPPP_cCsS_FFFFFF_DD.jpg', r'(?P<pid>-1|\d{4})_c(?P<cam>\d+)s\d+_\d+_\d+'
    )
    layout = names.layout(MARKET_FOLDERS)
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=12936, ids=751, cams=6),
        'query': Counts(images=3368, ids=750, cams=6),
        'gallery': Counts(images=15913, ids=750, cams=6, junk=3819, distractors=2798),
    }
    junk_pid = -1
    distractor_pid = 0
