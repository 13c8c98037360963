"""What all data sets share: splits, the check against published counts, and seeded augmentation."""

import copy
import logging
import os
import pickle
import random
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.logging import print_log
from numpy.random import mtrand
from tqdm import tqdm

from glc.registry import TRANSFORMS

from .checks import warn_of_shared_images
from .image_cache import ImageCache
from .lookup import absolute, locate
from .transforms import LoadReIDImage
from .walk import image_endings, walk

_GENERATOR = np.random.MT19937()


class Draw(NamedTuple):
    """One image and the seed of its augmentation, as a sampler may hand it to a data set.

    With a plain index, augmentation follows the worker's generators. With a ``Draw`` it depends on ``seed``
    alone: not on the number of workers or processes, nor on a resume. A training by epochs makes draws of the plain
    indices that samplers of other packages give.

    Attributes:
        index: Index of the image in the data set.
        seed: Any non-negative integer.

    Example:
        >>> from glc.datasets import Draw
        >>> Draw(index=3, seed=17)
        Draw(index=3, seed=17)
    """

    index: int  # type: ignore[assignment]  # it hides tuple.index, which a draw has no use for
    seed: int


class Record(NamedTuple):
    """One image file found by a scan.

    Attributes:
        path: The file.
        pid: Person identity as the file names give it; -1 where unknown.
        cam_id: Camera, 0-based; -1 where unknown.
    """

    path: str
    pid: int
    cam_id: int


class Counts(NamedTuple):
    """What one part of a data set holds.

    Attributes:
        images: Images that are used: distractors count, junk does not.
        ids: Known identities; distractors and junk are none.
        cams: Known cameras; None where nobody has published their number.
        junk: Images that the protocol never uses.
        distractors: Gallery images of nobody who is searched.
    """

    images: int
    ids: int
    cams: int | None
    junk: int = 0
    distractors: int = 0


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of Python, NumPy and PyTorch, and restore their states at the end.

    NumPy forgets a normal number that it has drawn ahead.
    """
    python_state, torch_state = random.getstate(), torch.default_generator.get_state()
    # mmcv's transforms draw from NumPy. To replace its generator takes a thirtieth of the time of copying the state.
    numpy_generator = mtrand.get_bit_generator()
    random.seed(seed)
    mtrand.set_bit_generator(_GENERATOR)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    # Not torch.manual_seed(): that would also reseed the accelerators, whose states are not restored.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        mtrand.set_bit_generator(numpy_generator)
        torch.default_generator.set_state(torch_state)


class BaseReIDDataset(BaseDataset):
    """Base of all data sets of person images.

    Every item of the data list is ``dict(img_path: str, pid: int, cam_id: int, is_query: bool)`` with -1 for
    an unknown identity or camera; images are in sorted file-name order. Pseudo labels are never written into
    a data set: they live in the model and the sampler, by ``sample_idx``.

    A subclass implements :meth:`scan` and states what it knows in the class attributes below.

    Args:
        data_root: Folder of the data set.
        split: 'train', 'query', 'gallery', or 'test' (the queries first, then the gallery, as one list).
        pipeline: Transforms, as objects or configs.
        check: What to do when the files differ from the published counts, before anything is loaded:
            'published' raises an error, 'warn' logs a warning, 'off' does not compare.
        unreadable: 'error' stops at the first unreadable image that is met and names it. 'skip' decodes every file once
            on loading, leaves out the unreadable ones, and logs their number and names.
        **kwargs: Arguments of mmengine's ``BaseDataset`` (``indices``, ``serialize_data``, ``lazy_init``).

    Raises:
        FileNotFoundError: If a folder or list file of the data set is missing.
        RuntimeError: If images are missing (``check='published'``) or none is left.
        ValueError: If an argument is not one of the above.

    Example:
        >>> from glc.datasets import BaseReIDDataset, Record
        >>> class TwoCameras(BaseReIDDataset):
        ...     def scan(self, part):
        ...         return [Record(f'{self.data_root}/{part}_{i}.png', pid=i, cam_id=i % 2) for i in range(3)]
        >>> dataset = TwoCameras('folder', split='test')
        >>> len(dataset), dataset.cam_ids.tolist()
        (6, [0, 1, 0, 0, 1, 0])
        >>> dataset.get_data_info(0)['is_query'], dataset.get_data_info(5)['is_query']
        (True, False)
    """

    parts: ClassVar[tuple[str, ...]] = ('train', 'query', 'gallery')
    """Parts that the data set consists of."""
    optional_parts: ClassVar[tuple[str, ...]] = ()
    """Those of them that a complete data set may lack."""
    layout: ClassVar[str] = ''
    """Folders and files expected below ``data_root``, for error messages."""
    published_counts: ClassVar[Mapping[str, Counts]] = {}
    """Counts per part of the complete data set, where they are known."""
    junk_pid: ClassVar[int | None] = None
    """Identity of images that the protocol never uses."""
    distractor_pid: ClassVar[int | None] = None
    """Identity of gallery images of people who are not searched."""

    def __init__(
        self,
        data_root: str,
        split: str = 'train',
        pipeline: Sequence[dict | Callable] = (),
        check: str = 'published',
        unreadable: str = 'error',
        **kwargs: Any,
    ) -> None:
        splits = (*self.parts, 'test') if 'query' in self.parts else self.parts
        for name, value, known in (
            ('split', split, splits),
            ('check', check, ('published', 'warn', 'off')),
            ('unreadable', unreadable, ('error', 'skip')),
        ):
            if value not in known:
                raise ValueError(f'{type(self).__name__}: {name}={value!r} is not one of {", ".join(known)}')
        self.split = split
        self.check = check
        self.unreadable = unreadable
        self._columns: dict[str, np.ndarray] = {}
        self._passed_over: dict[str, str] = {}
        self._found: dict[str, Counts] = {}
        self._cache: ImageCache | None = None
        super().__init__(data_root=str(data_root), pipeline=_built(pipeline), **kwargs)

    def scan(self, part: str) -> Sequence[Record]:
        """List the images of one part in sorted file-name order, junk included, without opening them.

        Args:
            part: 'train', 'query' or 'gallery'.

        Raises:
            FileNotFoundError: If a folder or list file is missing.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement scan()')

    def expected_counts(self, part: str) -> Counts | None:
        """Return the counts of the complete part; None where nobody knows them."""
        return self.published_counts.get(part)

    @classmethod
    def count(cls, records: Sequence[Record]) -> Counts:
        """Count what a scan found."""
        junk = sum(record.pid == cls.junk_pid for record in records)
        used = [record for record in records if record.pid != cls.junk_pid]
        return Counts(
            images=len(used),
            ids=len({record.pid for record in used} - {cls.distractor_pid, -1}),
            cams=len({record.cam_id for record in used} - {-1}),
            junk=junk,
            distractors=sum(record.pid == cls.distractor_pid for record in used),
        )

    def is_complete(self, part: str, found: Counts) -> bool:
        """Return whether images, identities and cameras are the expected ones (True where these are unknown)."""
        expected = self.expected_counts(part)
        return expected is None or all(
            should in (None, has) for has, should in zip(found[:3], expected[:3], strict=True)
        )

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """Scan the files, compare their counts with the published ones, and list the images of the split."""
        found = {part: self.scan(part) for part in self._parts_of_split()}
        self._check_counts(found)
        data_list: Sequence[dict[str, Any]] = [
            {'img_path': record.path, 'pid': record.pid, 'cam_id': record.cam_id, 'is_query': part == 'query'}
            for part, records in found.items()
            for record in records
            if self.junk_pid is None or record.pid != self.junk_pid
        ]
        if self.unreadable == 'skip':
            data_list = self._readable(data_list)
        if not data_list:
            looked = [f"'{folder}': {names or 'empty'}" for folder, names in self._passed_over.items()]
            raise RuntimeError(
                f"{type(self).__name__}: split '{self.split}' of '{os.path.abspath(self.data_root)}' has no usable "
                f'image. Images end in {", ".join(sorted(image_endings()))}. Found instead in '
                + ('; in '.join(looked) or 'the lists of the data set: nothing')
            )
        warn_of_shared_images(data_list, self.distractor_pid)
        return data_list

    def summary(self) -> list[str]:
        """Describe what was found: a line for the data set, and one for every part of the split."""
        self.full_init()
        name = self.metainfo.get('dataset_name', type(self).__name__)
        lines = []
        for part, counts in self._found.items():
            line = f'{part}: {counts.images:,} images'
            line += f' ({counts.distractors:,} distractors)' if counts.distractors else ''
            line += f', {counts.ids:,} identities' if counts.ids else ', no known identity'
            line += f', {counts.cams:,} cameras' if counts.cams else ', no known camera'
            lines.append(line + (f'; {counts.junk:,} junk left out' if counts.junk else ''))
        if self._found and len(self) != sum(counts.images for counts in self._found.values()):
            lines.append(f'{len(self):,} of these images are used')
        return lines and [f"{name} in '{os.path.abspath(self.data_root)}'", *lines]

    def with_pipeline(self, pipeline: Sequence[dict | Callable]) -> Self:
        """Return the same images under another pipeline; the data list is shared, not copied.

        Args:
            pipeline: Transforms, as objects or configs.
        """
        other = copy.copy(self)
        other.pipeline = Compose(_built(pipeline))
        if self._cache is not None:
            other.pipeline = self._cache.before(other.pipeline)
        return other

    def cache_images(self, where: str | os.PathLike = 'auto') -> None:
        """Decode and resize each image only once from now on, for all pipelines that begin with the same two steps.

        It works where the pipeline begins with ``LoadReIDImage`` and ``Resize`` to one size; the images are the same as
        without. What is done, and the size, is in the log.

        Args:
            where: 'auto' keeps them in memory that the worker processes share, if they take at most a quarter of what
                is available. A path with a slash is a folder for a file of them, which all processes and all trainings
                share that use these images; it may be deleted at any time that none runs. 'off' keeps none.

        Raises:
            ValueError: If ``where`` is none of them.
        """
        if where not in ('auto', 'off') and not os.path.dirname(where):
            raise ValueError(
                f"image_cache={where!r} is neither 'auto' nor 'off' nor a folder, which is written with a slash: "
                f"'./{where}'"
            )
        if where == 'off' or self._cache is not None:
            return
        self.full_init()
        infos = map(self.get_data_info, range(len(self)))
        paths = [info['img_path'] for info in infos if 'lmdb' not in info]
        self._cache = ImageCache.of(self.pipeline, paths, where, f'{type(self).__name__} {self.split}')
        if self._cache is not None:
            self.pipeline: Compose = self._cache.before(self.pipeline)

    @property
    def pids(self) -> np.ndarray:
        """Identities (N,) int64, -1 where unknown."""
        return self._column('pid')

    @property
    def cam_ids(self) -> np.ndarray:
        """Cameras (N,) int64, -1 where unknown."""
        return self._column('cam_id')

    @property
    def paths(self) -> np.ndarray:
        """Files (N,) of str: relative to ``data_root``, with forward slashes, where they are below it."""
        root = os.path.join(self.data_root, '')
        infos = map(self.get_data_info, range(len(self)))
        return np.array([info['img_path'].removeprefix(root).replace(os.sep, '/') for info in infos])

    def __getitem__(self, idx: int | Draw) -> dict[str, Any]:
        if not isinstance(idx, Draw):
            return super().__getitem__(idx)
        with seeded(idx.seed):
            return super().__getitem__(int(idx.index))

    def get_subset_(self, indices: Sequence[int] | int) -> None:
        """Keep only some of the images; see mmengine's ``BaseDataset``."""
        super().get_subset_(indices)
        self._columns = {}

    def get_subset(self, indices: Sequence[int] | int) -> Self:
        """Return some of the images as a data set; see mmengine's ``BaseDataset``."""
        subset = super().get_subset(indices)
        subset._columns = {}
        return subset

    def missing(self, path: str, *others: str) -> FileNotFoundError:
        """Return an error that says what is missing, where such a layout is, and how to check it.

        Args:
            path: Missing file or folder.
            *others: Further ones that would have been taken instead of it.
        """
        names = [os.path.relpath(place, self.data_root) for place in (path, *others)]
        found = locate(self.data_root, [name for name in names if not name.startswith('.')])
        hint = (
            f" Such a layout is in '{found}': set data_root to it if this is the data set." if found else ''
        )
        return FileNotFoundError(
            f'{type(self).__name__}: {absolute(path)} does not exist.{hint} '
            f"Expected below data_root='{self.data_root}':\n{self.layout}\n{self._how_to_verify()}"
        )

    def list_images(self, folder: str, deep: bool = False, without: Sequence[str] = ()) -> list[str]:
        """List the image files in a folder as :func:`glc.datasets.walk.walk` does; log what cannot be opened.

        Args:
            folder: The folder.
            deep: Whether folders in it are read, too.
            without: Folders that are not read.

        Returns:
            Names relative to the folder, with forward slashes, sorted.

        Raises:
            FileNotFoundError: If the folder does not exist.
        """
        try:
            found = walk(folder, deep, without)
        except (FileNotFoundError, NotADirectoryError):
            raise self.missing(folder) from None
        others = [
            f'{number:,} {ending or "without an ending"}' for ending, number in found.other_endings.items()
        ]
        others += [f'{os.path.relpath(path, folder)} of another part' for path in without]
        place = os.path.abspath(folder)
        self._passed_over[place] = ', '.join(sorted(others) + found.left_out[:5])
        if found.left_out:
            print_log(
                f"{type(self).__name__}: left out {len(found.left_out):,} in '{place}' (no regular file, or a folder "
                f'that was read already): {_first(found.left_out)}',
                logger='current',
                level=logging.WARNING,
            )
        return found.images

    def _serialize_data(self) -> tuple[np.ndarray, np.ndarray]:
        """Serialize the data list as mmengine does, into one buffer, which needs less than half of the memory."""
        content, ends = bytearray(), np.empty(len(self.data_list), np.int64)
        for index, info in enumerate(self.data_list):
            content += pickle.dumps(info, protocol=4)
            ends[index] = len(content)
        self.data_list.clear()
        return np.frombuffer(content, np.uint8), ends

    def _parts_of_split(self) -> tuple[str, ...]:
        return ('query', 'gallery') if self.split == 'test' else (self.split,)

    def _check_counts(self, found: Mapping[str, Sequence[Record]]) -> None:
        counts = self._found = {part: self.count(records) for part, records in found.items()}
        if self.check == 'off':
            return
        wrong = {part: count for part, count in counts.items() if not self.is_complete(part, count)}
        if not wrong:
            return
        lines = [f'{type(self).__name__}: {absolute(self.data_root)} is not the published data set:']
        for part, count in wrong.items():
            expected = self.expected_counts(part)
            assert expected is not None
            lines.append(
                f'  {part}: '
                + ', '.join(
                    f'{has:,} of {should:,} {name}'
                    for name, has, should in zip(Counts._fields, count[:3], expected[:3], strict=False)
                    if should is not None
                )
            )
        lines.append(self._how_to_verify())
        if self.check == 'published':
            loaders = ('train',) if self.split == 'train' else ('val', 'test')
            options = ' '.join(f'{loader}_dataloader.dataset.check=warn' for loader in loaders)
            lines.append(
                f"To go on with the files that are there, set check='warn' (--cfg-options {options}); "
                'never compare such scores with published ones.'
            )
            raise RuntimeError('\n'.join(lines))
        lines.append('Going on with the files that are there; never compare such scores with published ones.')
        print_log('\n'.join(lines), logger='current', level=logging.WARNING)

    def _how_to_verify(self) -> str:
        return (
            f'Check with: python tools/dataset_tools/verify_dataset.py {type(self).__name__} '
            f'{shlex.quote(self.data_root)}'
        )

    def _readable(self, data_list: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        steps = (step for step in self.pipeline.transforms if isinstance(step, LoadReIDImage))
        load = next(steps, None) or LoadReIDImage()

        def is_readable(info: dict[str, Any]) -> bool:
            try:
                load(dict(info))
            except RuntimeError:
                return False
            return True

        with ThreadPoolExecutor() as pool:
            progress = tqdm(pool.map(is_readable, data_list), 'reading images', len(data_list), disable=None)
            readable = list(progress)
        bad = [info['img_path'] for info, good in zip(data_list, readable, strict=True) if not good]
        if bad:
            names = '\n  '.join(bad)
            print_log(
                f"{type(self).__name__}, split '{self.split}': left out {len(bad):,} unreadable of "
                f'{len(data_list):,} images:\n  {names}',
                logger='current',
                level=logging.WARNING,
            )
        return [info for info, good in zip(data_list, readable, strict=True) if good]

    def _column(self, key: str) -> np.ndarray:
        if not self._columns:
            infos = [self.get_data_info(index) for index in range(len(self))]
            for name in ('pid', 'cam_id'):
                self._columns[name] = np.array([info[name] for info in infos], dtype=np.int64)
        return self._columns[key]


def _first(names: Sequence[str], number: int = 10) -> str:
    return ', '.join(names[:number]) + (', ...' if len(names) > number else '')


def _built(pipeline: Sequence[dict | Callable]) -> list[Callable]:
    return [TRANSFORMS.build(step) if isinstance(step, Mapping) else step for step in pipeline]
