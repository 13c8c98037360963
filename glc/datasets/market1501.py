"""Market-1501 (Zheng et al., ICCV 2015)."""

import os
import re
from collections.abc import Mapping
from typing import ClassVar

from glc.registry import DATASETS

from .base import BaseReIDDataset, Counts, Record

_NAME = re.compile(r'(?P<pid>-1|\d{4})_c(?P<cam>\d+)s\d+_\d+_\d+')


@DATASETS.register_module()
class Market1501(BaseReIDDataset):
    """Market-1501: 6 cameras, 751 training and 750 test identities.

    File names are ``PPPP_cCsS_FFFFFF_DD.jpg`` (identity, camera, sequence, frame, detection). Gallery images
    of identity -1 are junk and dropped; those of identity 0000 are distractors and kept. Takes the
    arguments of :class:`BaseReIDDataset`.

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
    folders: ClassVar[Mapping[str, str]] = {
        'train': 'bounding_box_train',
        'query': 'query',
        'gallery': 'bounding_box_test',
    }
    layout = '\n'.join(f'  {folder}/PPPP_cCsS_FFFFFF_DD.jpg' for folder in folders.values())
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=12936, ids=751, cams=6),
        'query': Counts(images=3368, ids=750, cams=6),
        'gallery': Counts(images=15913, ids=750, cams=6, junk=3819, distractors=2798),
    }
    junk_pid = -1
    distractor_pid = 0

    @staticmethod
    def parse(name: str) -> tuple[int, int]:
        """Return identity and 0-based camera of a file name."""
        match = _NAME.match(name)
        if match is None:
            raise ValueError(f"'{name}' is not a Market-1501 file name (PPPP_cCsS_FFFFFF_DD.jpg)")
        return int(match['pid']), int(match['cam']) - 1

    def scan(self, part: str) -> list[Record]:
        """List the images of one part."""
        folder = os.path.join(self.data_root, self.folders[part])
        return [Record(os.path.join(folder, name), *self.parse(name)) for name in self.list_images(folder)]
