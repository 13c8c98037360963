"""MSMT17 (Wei et al., CVPR 2018)."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from mmengine.logging import print_log

from glc.registry import DATASETS

from .base import BaseReIDDataset, Counts, Record
from .lookup import absolute
from .market_layout import MARKET_FOLDERS, NameScheme, scan_folder

_NAMES = NameScheme('MSMT17', 'PPPP_cC_NNNN.jpg', r'(?P<pid>\d+)_c(?P<cam>\d+)_\d+')


@DATASETS.register_module()
class MSMT17(BaseReIDDataset):
    """MSMT17: 15 cameras, 1,041 training and 3,060 test identities.

    Version 1 has the folders ``train`` and ``test``, version 2 (blurred faces) ``mask_train_v2`` and
    ``mask_test_v2``. Results differ, so ``metainfo['dataset_name']`` and a line in the log say which was found:
    'MSMT17_V1' or 'MSMT17_V2'. Training images are those of ``list_train.txt`` and ``list_val.txt``. Images that are
    listed but absent are left out (and make the check fail).

    Copies in the layout of Market-1501 are read, too: ``bounding_box_train``, ``query`` and ``bounding_box_test`` with
    ``PPPP_cC_NNNN.jpg``. They do not tell the version, so the name is 'MSMT17' unless ``version`` is given.

    For research only, sent on request: www.pkuvmc.com.

    Args:
        data_root: Folder with the list files and the two image folders, or with the three folders of Market-1501.
        version: 'V1' or 'V2'; needed only where one folder holds both, or to name that of a copy.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If both versions are in the folder and none is chosen; a line of a list file does not follow the
            scheme, or lists an image again; or no listed image is in the image folder.

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
        "  list_train.txt, list_val.txt, list_query.txt, list_gallery.txt with lines 'path pid'\n"
        f'or\n{_NAMES.layout(MARKET_FOLDERS)}'
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
        """Return path, identity and 0-based camera of one line of a list file.

        Raises:
            ValueError: If it is no such line, or its identity is negative or its camera 0.
        """
        try:
            path, pid = line.rsplit(maxsplit=1)
            identity, camera = int(pid), int(os.path.basename(path).split('_')[2])
        except (ValueError, IndexError):
            raise ValueError(f"MSMT17: '{line}' is not a line of a list file (path pid)") from None
        if not 0 <= identity < 2**63 > camera > 0:
            raise ValueError(
                f"MSMT17: '{line}' has identity {identity} and camera {camera}, but identities are numbered from 0 and "
                'cameras from 1'
            )
        return path, identity, camera - 1

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """List the images of the split, and say in the log which version they are of."""
        data_list = super().load_data_list()
        folders = dict.fromkeys(self._image_folders().values())
        unknown = (
            '; this layout does not tell V1 from V2, so version= may name it' if not self.version else ''
        )
        print_log(
            f"{self.metainfo['dataset_name']}, split '{self.split}': {len(data_list):,} images, folders "
            f'{", ".join(folders)} of {absolute(self.data_root)}{unknown}',
            logger='current',
        )
        return data_list

    def scan(self, part: str) -> list[Record]:
        """List the images of one part that are listed and present."""
        folders = self._image_folders()
        if folders == MARKET_FOLDERS:
            return scan_folder(self, folders[part], _NAMES)
        folder = os.path.join(self.data_root, folders[part])
        if not os.path.isdir(folder):
            raise self.missing(folder)
        lists = self.lists[part]
        lines = [line for name in lists for line in self._read_list(name)]
        present = set(self.list_images(folder, deep=True))
        if lines and present and present.isdisjoint(line.path for line in lines):
            raise ValueError(
                f'MSMT17: no path of {" and ".join(lists)} is below {absolute(folder)}: they list '
                f"'{lines[0].path}', the folder holds '{min(present)}'. The lists give paths below that folder: "
                'correct them, or move the images'
            )
        self._check_listed_once(part, lines)
        return [
            Record(os.path.join(folder, path), pid, cam_id)
            for path, pid, cam_id, _ in sorted(lines)
            if path in present
        ]

    def _read_list(self, name: str) -> list['_Line']:
        path = os.path.join(self.data_root, name)
        if not os.path.isfile(path):
            raise self.missing(path)
        lines = []
        # Undecodable bytes of a name become what os.listdir makes of them.
        text = Path(path).read_text(encoding='utf-8-sig', errors='surrogateescape')
        for number, line in enumerate(text.split('\n'), start=1):
            place = f'line {number} of {absolute(path)}'
            if line.strip():
                try:
                    image, pid, cam_id = self.parse(line.strip())
                except ValueError as error:
                    raise ValueError(f'{error}, {place}') from None
                lines.append(_Line(os.path.normpath(image), pid, cam_id, place))
        return lines

    def _check_listed_once(self, part: str, lines: Sequence['_Line']) -> None:
        """Check that no image is listed twice, in the lists of the part or, of query and gallery, the other one."""
        lines = list(lines)
        other = {'query': 'gallery', 'gallery': 'query'}.get(part)
        for name in self.lists[other] if other else ():
            if os.path.isfile(os.path.join(self.data_root, name)):
                lines += self._read_list(name)
        places: dict[str, str] = {}
        for line in lines:
            if line.path in places:
                raise ValueError(f"MSMT17: {line.place} lists '{line.path}' again, after {places[line.path]}")
            places[line.path] = line.place

    def _image_folders(self) -> Mapping[str, str]:
        """Return the image folder of every part, relative to the root, and name the version that is found."""
        versions = [self.version] if self.version else list(self.folders)
        found = [
            version
            for version in versions
            if any(os.path.isdir(os.path.join(self.data_root, folder)) for folder in self.folders[version])
        ]
        if len(found) > 1:
            raise ValueError(
                f"MSMT17: {absolute(self.data_root)} holds V1 and V2; choose one with version='V1' or 'V2'"
            )
        self.version = found[0] if found else self.version
        if self.version:
            self._metainfo['dataset_name'] = f'MSMT17_{self.version}'
        if found:
            train, test = self.folders[found[0]]
            return {'train': train, 'query': test, 'gallery': test}
        if any(os.path.isdir(os.path.join(self.data_root, folder)) for folder in MARKET_FOLDERS.values()):
            return MARKET_FOLDERS
        folders = [*(self.folders[version][0] for version in versions), MARKET_FOLDERS['train']]
        raise self.missing(*(os.path.join(self.data_root, folder) for folder in folders))


class _Line(NamedTuple):
    """A line of a list file: path below the image folder, identity, 0-based camera, and where the line is."""

    path: str
    pid: int
    cam_id: int
    place: str
