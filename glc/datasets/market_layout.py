"""The layout of Market-1501, in which many data sets come: one folder per part, identity and camera in file names."""

import os
import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from .base import BaseReIDDataset, Record

MARKET_FOLDERS: Mapping[str, str] = {
    'train': 'bounding_box_train',
    'query': 'query',
    'gallery': 'bounding_box_test',
}
"""Folder of each part."""


class NameScheme(NamedTuple):
    r"""How the file names of a data set tell identity and camera.

    Attributes:
        dataset: Published name of the data set.
        form: A file name, with letters for what varies.
        pattern: Regular expression of the start of a file name, with the groups ``pid`` and ``cam`` (1-based).

    Example:
        >>> from glc.datasets.market_layout import NameScheme
        >>> NameScheme('Mine', 'PPPP_cC.jpg', r'(?P<pid>\d{4})_c(?P<cam>\d+)').parse('0017_c3.jpg')
        (17, 2)
    """

    dataset: str
    form: str
    pattern: str

    def parse(self, name: str) -> tuple[int, int]:
        """Return identity and 0-based camera of a file name.

        Raises:
            ValueError: If the name does not follow the scheme, its camera is 0, or a number is too large for int64.
        """
        match = re.match(self.pattern, name)
        if match is None:
            raise ValueError(f"'{name}' is not a {self.dataset} file name ({self.form})")
        if int(match['cam']) == 0:
            raise ValueError(f"'{name}' has camera 0, but cameras of {self.dataset} are numbered from 1")
        if max(int(match['pid']), int(match['cam'])) >= 2**63:
            raise ValueError(f"'{name}' has a number that is too large")
        return int(match['pid']), int(match['cam']) - 1

    def layout(self, folders: Mapping[str, str]) -> str:
        """Return the lines that describe a data set of such names in these folders."""
        return '\n'.join(f'  {folder}/{self.form}' for folder in folders.values())


class MarketLayout(BaseReIDDataset):
    r"""Base of data sets in the layout of Market-1501: a subclass is a table of names, folders and counts.

    Example:
        >>> from glc.datasets.market_layout import MarketLayout, NameScheme
        >>> class Mine(MarketLayout):
        ...     names = NameScheme('Mine', 'PPPP_cC.jpg', r'(?P<pid>\d{4})_c(?P<cam>\d+)')
        >>> Mine.parse('0017_c3.jpg'), Mine.folders['gallery']
        ((17, 2), 'bounding_box_test')
    """

    names: ClassVar[NameScheme]
    folders: ClassVar[Mapping[str, str]] = MARKET_FOLDERS

    @classmethod
    def parse(cls, name: str) -> tuple[int, int]:
        """Return identity and 0-based camera of a file name."""
        return cls.names.parse(name)

    def scan(self, part: str) -> list[Record]:
        """List the images of one part."""
        return scan_folder(self, self.folders[part], self.names)


def scan_folder(dataset: BaseReIDDataset, folder: str, names: NameScheme) -> list[Record]:
    """List the images in a folder below the root of a data set, in sorted file-name order.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If a file name does not follow the scheme.
    """
    path = os.path.join(dataset.data_root, folder)
    try:
        return [Record(os.path.join(path, name), *names.parse(name)) for name in dataset.list_images(path)]
    except ValueError as error:
        raise ValueError(f"{type(dataset).__name__}: {error}, in '{os.path.abspath(path)}'") from None
