"""Several data sets as one."""

import copy
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import numpy as np

from glc.registry import DATASETS

from .base import BaseReIDDataset


@DATASETS.register_module()
class ConcatDataset(BaseReIDDataset):
    """Several data sets as one, in the order in which they are given, with identities and cameras kept apart.

    Identities and cameras of every data set but the first are shifted beyond those of the data sets before it; unknown
    ones stay -1. So no camera and no identity is in two of them. Every image goes through the pipeline of its own data
    set. Entries have one more key, ``part``: the number of the data set.

    In ``val_dataloader`` and ``test_dataloader``, every query is compared with the gallery images of all data sets.

    Args:
        datasets: Data sets or their configs.
        lazy_init: Whether to scan the files only when they are needed.
        **common: Arguments that all data sets are to have instead of their own: ``pipeline``, ``check``, ...

    Raises:
        TypeError: If ``common`` is given and a data set is built already, or one is no :class:`BaseReIDDataset`.
        ValueError: If there is no data set, or one is given twice.

    Example:
        >>> from glc.datasets import ConcatDataset
        >>> parts = [
        ...     dict(type='Market1501', data_root='data/market1501'),
        ...     dict(type='MSMT17', data_root='data/MSMT17', version='V2'),
        ... ]
        >>> dataset = ConcatDataset(parts, lazy_init=True, split='train', check='warn')
        >>> [(type(part).__name__, part.check) for part in dataset.datasets]
        [('Market1501', 'warn'), ('MSMT17', 'warn')]
    """

    def __init__(
        self, datasets: Sequence[Mapping | BaseReIDDataset], lazy_init: bool = False, **common: Any
    ) -> None:
        if not datasets or isinstance(datasets, Mapping):
            raise ValueError(
                f'ConcatDataset: datasets must be a list of data sets or configs, got {datasets!r}'
            )
        self.datasets = [_build(dataset, {'lazy_init': lazy_init, **common}) for dataset in datasets]
        super().__init__('', serialize_data=False, lazy_init=lazy_init)
        self.pipeline = _PipelineByPart([dataset.pipeline for dataset in self.datasets])

    def load_data_list(self) -> Sequence[dict[str, Any]]:
        """List the images of all data sets."""
        for dataset in self.datasets:
            dataset.full_init()
        _check_each_once(self.datasets)
        self._metainfo['dataset_name'] = ' + '.join(map(_name, self.datasets))
        return _Joined(self.datasets)

    def with_pipeline(self, pipeline: Sequence[dict | Callable]) -> Self:
        """Return the same images under another pipeline, which all data sets have."""
        other = copy.copy(self)
        other.pipeline = _PipelineByPart([part.with_pipeline(pipeline).pipeline for part in self.datasets])
        return other

    def cache_images(self, where: str | os.PathLike = 'auto') -> None:
        """Decode and resize each image only once from now on, in every data set."""
        for dataset in self.datasets:
            dataset.cache_images(where)
        self.pipeline = _PipelineByPart([dataset.pipeline for dataset in self.datasets])

    def summary(self) -> list[str]:
        """Describe the data sets, in a line for each."""
        self.full_init()
        parts = [
            f"  {_name(dataset)} in '{dataset.data_root}': {len(dataset):,} images, "
            f'{_number(dataset.pids):,} identities, {_number(dataset.cam_ids):,} cameras'
            for dataset in self.datasets
        ]
        return [f'{len(parts)} data sets, identities and cameras kept apart:', *parts]


def pipeline_of(dataset: Mapping[str, Any]) -> Sequence[dict | Callable] | None:
    """Return the pipeline in the config of a data set; that of a ``ConcatDataset`` is what all of its parts have.

    Returns:
        The transforms; None where the config has none.

    Raises:
        ValueError: If the parts of a ``ConcatDataset`` have different ones.

    Example:
        >>> from glc.datasets import pipeline_of
        >>> part = dict(type='Market1501', pipeline=[dict(type='LoadReIDImage')])
        >>> pipeline_of(dict(type='ConcatDataset', datasets=[part, part]))
        [{'type': 'LoadReIDImage'}]
    """
    if dataset.get('pipeline') is not None or not dataset.get('datasets'):
        pipeline: Sequence[dict | Callable] | None = dataset.get('pipeline')
        return pipeline
    first, *others = map(pipeline_of, dataset['datasets'])
    if any(other != first for other in others):
        raise ValueError(
            'the parts of the ConcatDataset have different pipelines: give it one, dataset.pipeline, beside '
            'dataset.datasets'
        )
    return first


class _Joined(Sequence):
    """The entries of several data sets, each made when it is asked for."""

    def __init__(self, datasets: Sequence[BaseReIDDataset]) -> None:
        self._datasets = datasets
        self._ends = np.cumsum([len(dataset) for dataset in datasets])
        # What the identities and cameras of each data set begin after.
        self._shifts = {
            key: np.cumsum([0, *(_end(getattr(dataset, column)) for dataset in datasets)])
            for key, column in (('pid', 'pids'), ('cam_id', 'cam_ids'))
        }

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        place = range(len(self))[index]
        part = int(np.searchsorted(self._ends, place, side='right'))
        dataset = self._datasets[part]
        info = dataset.get_data_info(place - int(self._ends[part]) + len(dataset))
        shifted = {key: info[key] + int(shift[part]) for key, shift in self._shifts.items() if info[key] >= 0}
        return {**info, **shifted, 'part': part}


class _PipelineByPart:
    """The pipelines of several data sets, as one of them all."""

    def __init__(self, pipelines: Sequence[Callable]) -> None:
        self.pipelines = pipelines

    def __call__(self, info: dict[str, Any]) -> Any:
        return self.pipelines[info['part']](info)


def _build(dataset: Mapping | BaseReIDDataset, arguments: Mapping[str, Any]) -> BaseReIDDataset:
    if isinstance(dataset, Mapping):
        dataset = DATASETS.build({**dataset, **arguments})
        arguments = {}
    if not isinstance(dataset, BaseReIDDataset):
        raise TypeError(f'ConcatDataset: a part is a {type(dataset).__name__}, not a BaseReIDDataset')
    given = sorted(arguments.keys() - {'lazy_init'})
    if given:
        raise TypeError(
            f'ConcatDataset: {", ".join(given)} cannot be set of a {type(dataset).__name__} that is built already: '
            'give its config, or set it there'
        )
    return dataset


def _check_each_once(datasets: Sequence[BaseReIDDataset]) -> None:
    """Check that no two data sets begin with the same file."""
    firsts: dict[tuple, int] = {}
    for number, dataset in enumerate(datasets):
        info = dataset.get_data_info(0)
        first = (info.get('lmdb'), os.path.realpath(info['img_path']))
        if first in firsts:
            raise ValueError(
                f'ConcatDataset: data sets {firsts[first]} and {number} hold the same images, the first being '
                f"'{first[1]}': its person would have two identities. Give another data_root or split"
            )
        firsts[first] = number


def _name(dataset: BaseReIDDataset) -> str:
    name: str = dataset.metainfo.get('dataset_name', type(dataset).__name__)
    return name


def _number(ids: np.ndarray) -> int:
    return len(np.unique(ids[ids >= 0]))


def _end(ids: np.ndarray) -> int:
    """Return the number after the largest id, 0 where none is known."""
    return max(int(ids.max()) + 1, 0)
