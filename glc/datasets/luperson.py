"""LUPerson (Fu et al., CVPR 2021): unlabelled person images for pre-training."""

import os
import uuid
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, ClassVar

from mmengine.logging import print_log

from glc.registry import DATASETS

from .base import BaseReIDDataset, Counts, Record


@DATASETS.register_module()
class LUPerson(BaseReIDDataset):
    """LUPerson: 4,180,243 images of unknown people and cameras, all of them training images.

    Listing millions of files takes minutes on a network disk, so the sorted list of names is kept in a text
    file: a first line with the modification time of the image folder, then one name per line. The list is
    made anew when that time has changed (a file was added, removed or renamed). No file is looked at one by
    one.

    Args:
        data_root: Folder that contains ``images``.
        list_file: Where the list is kept; ``<data_root>/images.list`` by default. Where that place cannot be
            written, nothing is kept and a line in the log says so.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from glc.datasets import LUPerson
        >>> with tempfile.TemporaryDirectory() as root:
        ...     Path(root, 'images').mkdir()
        ...     Path(root, 'images', 'a.jpg').touch()
        ...     dataset = LUPerson(root, check='off')
        >>> len(dataset), dataset.pids.tolist()
        (1, [-1])
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'LUPerson'}
    parts = ('train',)
    layout = '  images/*.jpg'
    published_counts: ClassVar[Mapping[str, Counts]] = {'train': Counts(images=4180243, ids=0, cams=0)}

    def __init__(self, data_root: str, *args: Any, list_file: str | None = None, **kwargs: Any) -> None:
        self.list_file = list_file or os.path.join(data_root, 'images.list')
        super().__init__(data_root, *args, **kwargs)

    def scan(self, part: str) -> list[Record]:
        """List the images."""
        folder = os.path.join(self.data_root, 'images')
        return [Record(os.path.join(folder, name), -1, -1) for name in self._names(folder)]

    def _names(self, folder: str) -> list[str]:
        if not os.path.isdir(folder):
            raise self.missing(folder)
        stamp = f'# {os.stat(folder).st_mtime_ns}'
        encoding = {'encoding': 'utf-8', 'errors': 'surrogateescape'}
        with suppress(OSError), open(self.list_file, **encoding) as file:
            if file.readline() == f'{stamp}\n':
                return file.read().split('\n')[:-1]
        names = self.list_images(folder)
        # Several processes may write at once: each its own file, put in place in one step.
        unfinished = f'{self.list_file}.{uuid.uuid4().hex}'
        try:
            with open(unfinished, 'w', **encoding) as file:
                file.writelines(f'{line}\n' for line in (stamp, *names))
            os.replace(unfinished, self.list_file)
        except OSError as error:
            print_log(f'LUPerson: the list of images is not kept ({error})', logger='current')
            with suppress(OSError):
                os.remove(unfinished)
        return names
