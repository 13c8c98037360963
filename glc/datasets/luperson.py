"""LUPerson (Fu et al., CVPR 2021): unlabeled person images for pre-training."""

import io
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np
from mmengine.logging import print_log

from glc.registry import DATASETS
from glc.utils.files import atomic_file

from .base import BaseReIDDataset, Counts, Record
from .walk import is_image

_RULES = 2
"""Version of what is listed: raise it when other files of the same folder are."""


@DATASETS.register_module()
class LUPerson(BaseReIDDataset):
    """LUPerson: 4,180,243 images of unknown people and cameras, all of them training images.

    Listing millions of files takes minutes on a network disk. So the sorted list of names is kept in a text file: a
    first line with the modification time of the image folder, then one name per line. The list is made anew when that
    time has changed (a file was added, removed or renamed); no file is looked at one by one. The list is mapped into
    memory, which all processes of a machine share. An entry is made when it is asked for, so a process holds no more of
    the list than a table of the places of the names.

    Args:
        data_root: Folder that contains ``images`` or the LMDB.
        list_file: Where the list is kept; ``<data_root>/images.list`` by default, ``<data_root>/<lmdb>.list`` of an
            LMDB. If that place cannot be written, nothing is kept, and a line in the log says so.
        chosen: File with the names of the images to take, one per line, or a pickled list of names, as the published
            list by catastrophic forgetting score (CFS) of TransReID-SSL is. Its pickle may hold a list of text only.
        keep: Take only so many of the ``chosen``, from the top; None takes all.
        lmdb: Name of an LMDB below ``data_root`` with the encoded images by name (ASCII), instead of the folder; needs
            the package lmdb. ``LoadReIDImage`` finds it in the entries.
        **kwargs: Arguments of :class:`BaseReIDDataset`; ``serialize_data`` has no effect.

    Raises:
        ImportError: If an LMDB is asked for and the package is missing.
        ValueError: If ``chosen`` holds anything else, or fewer names than ``keep``, or names without a file.

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
    layout = '  images/*.jpg (or, with lmdb=NAME, the LMDB NAME)'
    published_counts: ClassVar[Mapping[str, Counts]] = {'train': Counts(images=4180243, ids=0, cams=0)}

    def __init__(
        self,
        data_root: str,
        *args: Any,
        list_file: str | None = None,
        lmdb: str | None = None,
        chosen: str | None = None,
        keep: int | None = None,
        **kwargs: Any,
    ) -> None:
        if keep is not None and chosen is None:
            raise ValueError(f'keep={keep} needs chosen, the file with the names to take')
        self.chosen, self.keep = chosen, keep
        self.source = os.path.join(data_root, lmdb or 'images')
        self.lmdb = self.source if lmdb else None
        if lmdb and find_spec('lmdb') is None:
            raise ImportError(
                f"LUPerson(lmdb='{lmdb}') needs the package lmdb: pip install lmdb, or use the folder images/"
            )
        self.list_file = list_file or f'{self.source}.list'
        super().__init__(data_root, *args, **{**kwargs, 'serialize_data': False})

    @classmethod
    def count(cls, records: Sequence[Record]) -> Counts:
        """Count the images; identities and cameras are unknown."""
        return Counts(images=len(records), ids=0, cams=0)

    def scan(self, part: str) -> '_Lines':
        """List the images; a record is made when it is asked for."""
        if not os.path.exists(self.source):
            raise self.missing(self.source)
        return _Lines(self._names(), partial(_record, self._folder))

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """Compare the number of images with the published one, and list them."""
        records = self.scan('train')
        if self.chosen is None:
            self._check_counts({'train': records})
        if not len(records):
            raise RuntimeError(f"LUPerson: '{self.chosen or self.source}' has no image")
        data_list = _Lines(records.text, partial(_info, self._folder, self.lmdb))
        return self._readable(data_list) if self.unreadable == 'skip' else data_list

    def _column(self, key: str) -> np.ndarray:
        return np.full(len(self), -1)

    @property
    def _folder(self) -> str:
        return '' if self.lmdb else self.source

    def _names(self) -> np.ndarray:
        """Return the text of the list, as uint8: a first line, then the sorted names."""
        if self.chosen is not None:
            names = map(os.fsencode, self._first_names(self.chosen))
            return np.frombuffer(b'\n' + b''.join(name + b'\n' for name in names), np.uint8)
        stamp = f'# {_RULES} {os.stat(self._dated()).st_mtime_ns}\n'.encode()
        with suppress(OSError), open(self.list_file, 'rb') as file:
            if file.readline() == stamp:
                return np.memmap(file, np.uint8, 'r')
        found = self._lmdb_keys() if self.lmdb else map(os.fsencode, self.list_images(self.source))
        text = stamp + b''.join(name + b'\n' for name in found)
        # Several processes may write at once.
        try:
            with atomic_file(self.list_file) as path:
                path.write_bytes(text)
        except OSError as error:
            print_log(f'LUPerson: the list of images is not kept ({error})', logger='current')
        return np.frombuffer(text, np.uint8)

    def _first_names(self, path: str) -> list[str]:
        """Read the names to keep from a list."""
        names = read_names(path)
        if self.keep is not None and len(names) < self.keep:
            raise ValueError(f"'{path}' holds {len(names):,} names, fewer than keep={self.keep:,}")
        names = names[: self.keep]
        if self.lmdb is None:
            # All of millions would take minutes; a list for another folder fails at the first.
            for name in names[:: max(1, len(names) // 100)]:
                if not os.path.isfile(os.path.join(self._folder, name)):
                    folder = os.path.abspath(self._folder)
                    raise ValueError(f"'{path}' names '{name}', which is not in '{folder}'")
        return names

    def _dated(self) -> str:
        """Return the file or folder whose modification time tells of other images."""
        return (
            os.path.join(self.source, 'data.mdb') if self.lmdb and os.path.isdir(self.source) else self.source
        )

    def _lmdb_keys(self) -> list[bytes]:
        """List the sorted names of the images in the LMDB; the images themselves are not read."""
        import lmdb

        subdir = os.path.isdir(self.source)
        base = lmdb.open(self.source, subdir=subdir, readonly=True, lock=False, readahead=False)
        with base, base.begin() as transaction:
            keys = transaction.cursor().iternext(keys=True, values=False)
            return [bytes(key) for key in keys if is_image(os.fsdecode(bytes(key)))]


def read_names(path: str) -> list[str]:
    """Read a list of names: a text file of one per line, or a pickled list of text.

    Raises:
        ValueError: The file holds anything else. No code of a pickle is run.
    """
    with open(path, 'rb') as file:
        content = file.read()
    if not content.startswith(b'\x80'):
        return os.fsdecode(content).splitlines()  # in any encoding, as os.listdir names files
    try:
        names = _PlainUnpickler(io.BytesIO(content)).load()
    except Exception as error:
        raise ValueError(f"'{path}' is no pickled list of names: {error}") from error
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"'{path}' holds a pickled {type(names).__name__}, not a list of names")
    return names


class _PlainUnpickler(pickle.Unpickler):
    """Unpickler of lists and text; whatever would call something is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f'it holds {module_name}.{global_name}')


class _Lines(Sequence):
    """The lines of a text after its first, each as what ``make`` makes of it."""

    def __init__(self, text: np.ndarray, make: Callable[[str], Any]) -> None:
        self.text = text
        self._make = make
        self._ends = np.flatnonzero(text == ord('\n'))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        line = self.text[self._ends[place] + 1 : self._ends[place + 1]]
        return self._make(os.fsdecode(line.tobytes()))


def _record(folder: str, name: str) -> Record:
    return Record(os.path.join(folder, name), -1, -1)


def _info(folder: str, lmdb: str | None, name: str) -> dict[str, Any]:
    info = {'img_path': os.path.join(folder, name), 'pid': -1, 'cam_id': -1, 'is_query': False}
    return {**info, 'lmdb': lmdb} if lmdb else info
