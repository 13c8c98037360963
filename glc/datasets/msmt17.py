"""MSMT17 (Wei et al., CVPR 2018)."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

from glc.registry import DATASETS

from .base import BaseReIDDataset, Counts, Record


@DATASETS.register_module()
class MSMT17(BaseReIDDataset):
    """MSMT17: 15 cameras, 1,041 training and 3,060 test identities.

    Version 1 has the folders ``train`` and ``test``, version 2 (blurred faces) ``mask_train_v2`` and
    ``mask_test_v2``. Results differ, so ``metainfo['dataset_name']`` says which was found: 'MSMT17_V1' or
    'MSMT17_V2'. Training images are those of ``list_train.txt`` and ``list_val.txt``. Images that are listed
    but absent are left out (and make the check fail).

    Args:
        data_root: Folder with the list files and the two image folders.
        version: 'V1' or 'V2'; needed only where one folder holds both.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If both versions are in the folder and none is chosen, or a line of a list file does not
            follow the scheme.

    Example:
        >>> from glc.datasets import MSMT17
        >>> MSMT17.parse('0000/0000_001_11_0302afternoon_0128_0.jpg 7')
        ('0000/0000_001_11_0302afternoon_0128_0.jpg', 7, 10)
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'MSMT17'}
    lists: ClassVar[Mapping[str, tuple[str, ...]]] = {
        'train': ('list_train.txt', 'list_val.txt'),
        'query': ('list_query.txt',),
        'gallery': ('list_gallery.txt',),
    }
    folders: ClassVar[Mapping[str, tuple[str, str]]] = {
        'V1': ('train', 'test'),
        'V2': ('mask_train_v2', 'mask_test_v2'),
    }
    layout = (
        '  train/ and test/ (V1), or mask_train_v2/ and mask_test_v2/ (V2), with PPPP/PPPP_NNN_CC_*.jpg\n'
        "  list_train.txt, list_val.txt, list_query.txt, list_gallery.txt with lines 'path pid'"
    )
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=32621, ids=1041, cams=15),
        'query': Counts(images=11659, ids=3060, cams=15),
        'gallery': Counts(images=82161, ids=3060, cams=15),
    }

    def __init__(self, data_root: str, *args: Any, version: str | None = None, **kwargs: Any) -> None:
        if version not in (None, *self.folders):
            raise ValueError(f'MSMT17: version={version!r} is not one of {", ".join(self.folders)}')
        self.version = version
        super().__init__(data_root, *args, **kwargs)

    @staticmethod
    def parse(line: str) -> tuple[str, int, int]:
        """Return path, identity and 0-based camera of one line of a list file."""
        try:
            path, pid = line.rsplit(maxsplit=1)
            return path, int(pid), int(os.path.basename(path).split('_')[2]) - 1
        except (ValueError, IndexError):
            raise ValueError(f"MSMT17: '{line}' is not a line of a list file (path pid)") from None

    def scan(self, part: str) -> list[Record]:
        """List the images of one part that are listed and present."""
        folder = self._image_folder(part)
        present = set(self.list_images(folder, deep=True))
        lines: list[str] = []
        for name in self.lists[part]:
            path = os.path.join(self.data_root, name)
            try:
                with open(path, encoding='utf-8') as file:
                    lines += filter(None, map(str.strip, file))
            except FileNotFoundError:
                raise self.missing(path) from None
        return [
            Record(os.path.join(folder, path), pid, cam_id)
            for path, pid, cam_id in sorted(map(self.parse, lines))
            if os.path.normpath(path) in present
        ]

    def _image_folder(self, part: str) -> str:
        index = 0 if part == 'train' else 1
        if self.version is None:
            found = [
                version
                for version, folders in self.folders.items()
                if any(os.path.isdir(os.path.join(self.data_root, folder)) for folder in folders)
            ]
            if len(found) > 1:
                raise ValueError(
                    f"MSMT17: '{self.data_root}' holds V1 and V2; choose one with version='V1' or 'V2'"
                )
            self.version = found[0] if found else 'V1'
        folder = os.path.join(self.data_root, self.folders[self.version][index])
        if not os.path.isdir(folder):
            raise self.missing(folder)
        self._metainfo['dataset_name'] = f'MSMT17_{self.version}'
        return folder
