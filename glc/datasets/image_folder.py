"""Anybody's own folder of person crops."""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

from glc.registry import DATASETS

from .base import BaseReIDDataset, Record, is_image


@DATASETS.register_module()
class ImageFolderReID(BaseReIDDataset):
    r"""A folder of person crops, at any depth, with whatever its file names tell.

    Args:
        data_root: Folder of the data set.
        pattern: Regular expression, searched in each image's path relative to ``data_root`` (with forward
            slashes). The named group ``cam`` gives the camera, any text: cameras are numbered in sorted
            order. The named group ``pid`` gives the identity, an integer. Both groups are optional, and without a
            pattern both are unknown (-1). For one folder per camera: ``r'(?P<cam>[^/]+)/[^/]+$'``.
        folders: Sub-folder of each part; ``''`` is ``data_root`` itself.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If the pattern does not match an image, or an identity is not an integer.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from glc.datasets import ImageFolderReID
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for name in ('door/0001.jpg', 'door/0002.jpg', 'hall/0001.jpg'):
        ...         Path(root, name).parent.mkdir(exist_ok=True)
        ...         Path(root, name).touch()
        ...     dataset = ImageFolderReID(root, pattern=r'(?P<cam>[^/]+)/[^/]+$')
        >>> dataset.cam_ids.tolist(), dataset.pids.tolist()
        ([0, 0, 1], [-1, -1, -1])
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'ImageFolderReID'}
    optional_parts = ('query', 'gallery')
    layout = '  images (.jpg, .jpeg, .png, .bmp, .webp) at any depth; for tests, in query/ and gallery/'

    def __init__(
        self,
        data_root: str,
        *args: Any,
        pattern: str | None = None,
        folders: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.pattern = pattern
        self.folders = {'train': '', 'query': 'query', 'gallery': 'gallery', **(folders or {})}
        super().__init__(data_root, *args, **kwargs)

    def scan(self, part: str) -> list[Record]:
        """List the images of one part."""
        folder = os.path.join(self.data_root, self.folders[part])
        if not os.path.isdir(folder):
            raise self.missing(folder)
        numbers = self._camera_numbers
        return [self._record(path, numbers) for path in self._images(folder)]

    @cached_property
    def _camera_numbers(self) -> dict[str, int]:
        """Number of every camera of all parts, so that a camera has the same one in the query and in the gallery."""
        folders = {os.path.join(self.data_root, name) for name in self.folders.values()}
        cameras = {self._groups(path).get('cam') for folder in folders for path in self._images(folder)}
        known = sorted(camera for camera in cameras if camera is not None)
        return {camera: number for number, camera in enumerate(known)}

    def _images(self, folder: str) -> list[str]:
        """List the image files below a folder, relative to ``data_root`` with forward slashes, sorted."""
        return sorted(
            os.path.relpath(os.path.join(parent, name), self.data_root).replace(os.sep, '/')
            for parent, _, names in os.walk(folder, followlinks=True)
            for name in names
            if is_image(name)
        )

    def _groups(self, path: str) -> dict[str, str | None]:
        if self.pattern is None:
            return {}
        match = re.search(self.pattern, path)
        if match is None:
            raise ValueError(f"ImageFolderReID: pattern {self.pattern!r} does not match '{path}'")
        return match.groupdict()

    def _record(self, path: str, camera_numbers: Mapping[str, int]) -> Record:
        groups = self._groups(path)
        cam, pid = groups.get('cam'), groups.get('pid')
        try:
            return Record(
                os.path.join(self.data_root, path),
                -1 if pid is None else int(pid),
                -1 if cam is None else camera_numbers[cam],
            )
        except ValueError:
            raise ValueError(f"ImageFolderReID: identity {pid!r} of '{path}' is not an integer") from None
