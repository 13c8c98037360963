"""Anybody's own folder of person crops."""

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from glc.registry import DATASETS

from .base import BaseReIDDataset, Record

_GROUPS = ('pid', 'cam')
_TESTS = re.compile(r'(?:^|.*?/)(?:query|gallery|probe|test|val|valid|validation|bounding_box_test)/')


@DATASETS.register_module()
class ImageFolderReID(BaseReIDDataset):
    r"""A folder of person crops, at any depth, with whatever its file names tell.

    Identities and cameras are numbered over all parts, so both have the same number in the queries and in the gallery.

    Args:
        data_root: Folder of the data set.
        pattern: Regular expression, searched in each image's path relative to ``data_root`` (with forward
            slashes). The named group ``cam`` gives the camera, any text: cameras are numbered in sorted
            order. The named group ``pid`` gives the identity: its number if all identities are numbers, else any
            text, numbered in sorted order. A group may be optional; where it is not found, or empty, or the identity
            is -1, camera or identity is unknown (-1). For one folder per camera: ``r'(?P<cam>[^/]+)/[^/]+$'``.
        folders: Sub-folder of each part; ``''`` is ``data_root`` itself. By default the training images are all those
            below ``data_root`` but not in ``query`` or ``gallery``, which are the folders of the tests. Images in the
            folder of another part never belong to a part.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If the pattern is no regular expression with the groups ``pid`` or ``cam`` and no other one, if it
            does not match an image, or if ``folders`` names an unknown part.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from glc.datasets import ImageFolderReID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ('door/bob_1.jpg', 'door/eve_2.jpg', 'hall/bob_3.jpg'):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         Path(root, name).touch()
        ...     dataset = ImageFolderReID(root, pattern=r'(?P<cam>[^/]+)/(?P<pid>[^/]+)_')
        >>> dataset.cam_ids.tolist(), dataset.pids.tolist()
        ([0, 0, 1], [0, 1, 0])
        >>> dataset.identities, dataset.cameras
        ({0: 'bob', 1: 'eve'}, {0: 'door', 1: 'hall'})
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'ImageFolderReID'}
    optional_parts = ('query', 'gallery')
    layout = '  images (.jpg, .png and so on) at any depth; for tests, in query/ and gallery/'

    def __init__(
        self,
        data_root: str,
        *args: Any,
        pattern: str | None = None,
        folders: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.pattern = pattern
        self._regex = None if pattern is None else compiled_pattern(pattern)
        _check_folders(folders, self.parts)
        self.folders = {'train': '', 'query': 'query', 'gallery': 'gallery', **(folders or {})}
        self._listed: dict[str, list[str]] = {}
        super().__init__(data_root, *args, **kwargs)

    @property
    def identities(self) -> dict[int, str]:
        """Name of every identity, as the paths give it."""
        return {number: name for name, number in self._numbers['pid'].items()}

    @property
    def cameras(self) -> dict[int, str]:
        """Name of every camera, as the paths give it."""
        return {number: name for name, number in self._numbers['cam'].items()}

    def scan(self, part: str) -> list[Record]:
        """List the images of one part."""
        paths = self._images(part)
        self._say_where_tests_are(part, paths)
        numbers, unmatched, records = self._numbers, list[str](), list[Record]()
        for path in paths:
            groups = self._groups(path)
            if self._regex is not None and not groups:
                unmatched.append(path)
            known = (numbers[group].get(groups.get(group) or '', -1) for group in _GROUPS)
            records.append(Record(os.path.join(self.data_root, path), *known))
        if unmatched:
            raise ValueError(
                f'ImageFolderReID: pattern {self.pattern!r} does not match {len(unmatched):,} of {len(paths):,} {part} '
                f"images, such as '{unmatched[0]}' in '{os.path.abspath(self.data_root)}'. Make what some images lack "
                'optional: (?:...)?'
            )
        del self._listed[part]  # millions of names need hundreds of MB
        return records

    @cached_property
    def _numbers(self) -> dict[str, dict[str, int]]:
        """Number of every name of the two groups, in all parts that are there."""
        names: dict[str, set[str]] = {group: set() for group in _GROUPS}
        if self._regex is not None:
            for part in self.parts:
                if os.path.isdir(self._folder(part)):
                    for path in self._images(part):
                        for group, name in self._groups(path).items():
                            names[group].add(name or '')
        return {'pid': _numbered_identities(names['pid']), 'cam': _numbered(names['cam'] - {''})}

    def _folder(self, part: str) -> str:
        return os.path.normpath(os.path.join(self.data_root, self.folders[part]))

    def _other_parts_in(self, part: str) -> list[str]:
        """Return the folders of other parts that are inside the folder of a part."""
        inside = os.path.join(self._folder(part), '')
        folders = sorted({self._folder(other) for other in self.parts})
        return [folder for folder in folders if folder.startswith(inside) and os.path.isdir(folder)]

    def _images(self, part: str) -> list[str]:
        """List the images of a part, relative to ``data_root`` with forward slashes, sorted."""
        if part not in self._listed:
            folder = self._folder(part)
            names = self.list_images(folder, deep=True, without=self._other_parts_in(part))
            start = os.path.relpath(folder, self.data_root).replace(os.sep, '/')
            self._listed[part] = names if start == '.' else [f'{start}/{name}' for name in names]
        return self._listed[part]

    def _say_where_tests_are(self, part: str, paths: Sequence[str]) -> None:
        """Log which folders of other parts are left out, and which training images may be meant for tests."""
        place = f"'{os.path.abspath(self._folder(part))}'"
        inside = [os.path.relpath(folder, self._folder(part)) for folder in self._other_parts_in(part)]
        if inside:
            _warn(
                f'the {part} images are those below {place}, but not those in {", ".join(inside)} (other parts)'
            )
        matches = filter(None, map(_TESTS.match, paths)) if part == 'train' else ()
        tests = Counter(match.group() for match in matches)
        if tests:
            found = ', '.join(f'{number:,} in {folder}' for folder, number in sorted(tests.items()))
            _warn(
                f'of the {len(paths):,} training images below {place}, {found}: if they are for tests, name the folder '
                "of the training images with folders=dict(train='...')"
            )

    def _groups(self, path: str) -> dict[str, str | None]:
        match = None if self._regex is None else self._regex.search(path)
        return {} if match is None else match.groupdict()


def identities_and_cameras(paths: Sequence[str], pattern: str) -> tuple[np.ndarray, np.ndarray]:
    """Read identity and camera of every path, as :class:`ImageFolderReID` does.

    Args:
        paths: N paths with forward slashes.
        pattern: As in :class:`ImageFolderReID`.

    Returns:
        Identities (N,) and cameras (N,) int64, -1 where unknown.

    Raises:
        ValueError: If the pattern is none for identities and cameras, or does not match a path.

    Example:
        >>> identities_and_cameras(['door/bob_1.jpg', 'hall/eve_2.jpg'], r'(?P<cam>[^/]+)/(?P<pid>[^/]+)_')
        (array([0, 1]), array([0, 1]))
    """
    regex = compiled_pattern(pattern)
    texts: dict[str, list[str]] = {group: [] for group in _GROUPS}
    for path in paths:
        match = regex.search(path)
        if match is None:
            raise ValueError(
                f"pattern {pattern!r} does not match '{path}'. Make what some images lack optional: (?:...)?"
            )
        for group, found in texts.items():
            found.append(match.groupdict().get(group) or '')
    numbers = _numbered_identities(set(texts['pid'])), _numbered(set(texts['cam']) - {''})
    pids, cam_ids = (
        np.array([known.get(text, -1) for text in found], dtype=np.int64)
        for known, found in zip(numbers, texts.values(), strict=True)
    )
    return pids, cam_ids


def compiled_pattern(pattern: str) -> re.Pattern[str]:
    """Compile the pattern of :class:`ImageFolderReID`.

    Raises:
        ValueError: It is no regular expression, or has other named groups than ``pid`` and ``cam``, or none.
    """
    if not isinstance(pattern, str):
        raise ValueError(f'ImageFolderReID: pattern must be a text, got {pattern!r}')
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise ValueError(f'ImageFolderReID: pattern {pattern!r} is no regular expression: {error}') from None
    if not regex.groupindex or not set(regex.groupindex) <= set(_GROUPS):
        raise ValueError(
            f'ImageFolderReID: the named groups of pattern {pattern!r} are {list(regex.groupindex)}; allowed are '
            '(?P<pid>...) for the identity and (?P<cam>...) for the camera, one of them or both'
        )
    return regex


def _check_folders(folders: Mapping[str, str] | None, parts: Sequence[str]) -> None:
    allowed = ', '.join(parts)
    if not isinstance(folders, Mapping | None):
        raise ValueError(f'ImageFolderReID: folders must map {allowed} to sub-folders, got {folders!r}')
    for part, folder in (folders or {}).items():
        if part not in parts or not isinstance(folder, str):
            raise ValueError(
                f'ImageFolderReID: folders has {part!r}: {folder!r}; the parts are {allowed}, each a text that names '
                'a sub-folder'
            )


def _numbered_identities(names: set[str]) -> dict[str, int]:
    known = names - {'', '-1'}
    if all(re.fullmatch(r'[0-9]{1,18}', name) for name in known):
        return {name: int(name) for name in sorted(known)}
    return _numbered(known)


def _numbered(names: set[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(sorted(names))}


def _warn(text: str) -> None:
    print_log(f'ImageFolderReID: {text}', logger='current', level=logging.WARNING)
