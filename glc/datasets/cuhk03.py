"""CUHK03 (Li et al., CVPR 2014) under the new protocol (Zhong et al., CVPR 2017)."""

import math
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, ClassVar

import numpy as np

from glc.registry import DATASETS

from .base import BaseReIDDataset, Counts, Record
from .lookup import absolute
from .market_layout import MARKET_FOLDERS, NameScheme, scan_folder

_NAMES = NameScheme('CUHK03-NP', 'PPPP_cC_N.png', r'(?P<pid>\d{4})_c(?P<cam>\d+)_\d+')
_MOST_VALUES = 1_000_000
_COLUMNS = ('filelist', 'labels', 'camId')


@DATASETS.register_module()
class CUHK03(BaseReIDDataset):
    """CUHK03, new protocol: 2 cameras, 767 training and 700 test identities.

    Two forms are read. With the file ``cuhk03_new_protocol_config_BOXES.mat`` of the protocol, the images are in
    ``images_BOXES``, under the names that are listed there (``P_III_C_NN.png``). Without it, the images are in
    ``BOXES/bounding_box_train``, ``query`` and ``bounding_box_test`` (CUHK03-NP), under ``PPPP_cC_N.png``. Images that
    are listed but absent are left out, and make the check fail.

    For research only. Images: www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html; protocol and CUHK03-NP:
    github.com/zhunzhong07/person-re-ranking, folder CUHK03-NP.

    Args:
        data_root: Folder of the data set.
        boxes: 'detected' for the boxes of a detector, 'labeled' for those drawn by hand.
        **kwargs: Arguments of :class:`BaseReIDDataset`.

    Raises:
        ValueError: If ``boxes`` is another one, the file of the protocol cannot be read, or a file name does not follow
            the scheme.

    Example:
        >>> from glc.datasets import CUHK03
        >>> CUHK03('data/cuhk03', boxes='labeled', lazy_init=True).expected_counts('train').images
        7368
    """

    METAINFO: ClassVar[dict] = {'dataset_name': 'CUHK03'}
    layout = (
        '  cuhk03_new_protocol_config_{detected,labeled}.mat and images_{detected,labeled}/P_III_C_NN.png\n'
        'or\n'
        + _NAMES.layout({part: f'{{detected,labeled}}/{name}' for part, name in MARKET_FOLDERS.items()})
    )
    published_counts: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=7365, ids=767, cams=2),
        'query': Counts(images=1400, ids=700, cams=2),
        'gallery': Counts(images=5332, ids=700, cams=2),
    }
    published_counts_labeled: ClassVar[Mapping[str, Counts]] = {
        'train': Counts(images=7368, ids=767, cams=2),
        'query': Counts(images=1400, ids=700, cams=2),
        'gallery': Counts(images=5328, ids=700, cams=2),
    }

    def __init__(self, data_root: str, *args: Any, boxes: str = 'detected', **kwargs: Any) -> None:
        if boxes not in ('detected', 'labeled'):
            raise ValueError(f'CUHK03: boxes={boxes!r} is not one of detected, labeled')
        self.boxes = boxes
        super().__init__(data_root, *args, **kwargs)
        self._metainfo['dataset_name'] = f'CUHK03 ({boxes} boxes)'

    def expected_counts(self, part: str) -> Counts | None:
        """Return the published counts for these boxes."""
        counts = self.published_counts_labeled if self.boxes == 'labeled' else self.published_counts
        return counts[part]

    def scan(self, part: str) -> list[Record]:
        """List the images of one part that are listed and present."""
        protocol = os.path.join(self.data_root, f'cuhk03_new_protocol_config_{self.boxes}.mat')
        if os.path.isfile(protocol):
            return self._listed(protocol, part)
        folders = os.path.join(self.data_root, self.boxes)
        if os.path.isdir(folders):
            return scan_folder(self, os.path.join(self.boxes, MARKET_FOLDERS[part]), _NAMES)
        raise self.missing(protocol, folders)

    def _listed(self, protocol: str, part: str) -> list[Record]:
        names, pids, cams = _read_protocol(protocol, part)
        folder = os.path.join(self.data_root, f'images_{self.boxes}')
        present = set(self.list_images(folder))
        if present and present.isdisjoint(names):
            raise ValueError(
                f"CUHK03: no image that {absolute(protocol)} lists is in '{folder}': it lists '{names[0]}', the folder "
                f"holds '{min(present)}'. Extract the images under the names of the list"
            )
        return sorted(
            Record(os.path.join(folder, name), pid, cam - 1)
            for name, pid, cam in zip(names, pids, cams, strict=True)
            if name in present
        )


def _read_protocol(path: str, part: str) -> tuple[list[str], list[int], list[int]]:
    """Return the file names, identities and 1-based cameras of one part."""
    import scipy.io  # noqa: F401  (before the fork)

    try:
        with ProcessPoolExecutor(1, mp_context=get_context('fork')) as pool:
            return pool.submit(_parse_protocol, path, part).result()
    except Exception as error:  # of many kinds, as the file may hold anything
        raise ValueError(
            f'CUHK03: {absolute(path)} is not the file of the new protocol ({type(error).__name__}: {error})'
        ) from error


def _parse_protocol(path: str, part: str) -> tuple[list[str], list[int], list[int]]:
    """Parse the file, in a process of its own: a damaged one may crash SciPy's reader."""
    from scipy.io import loadmat, whosmat

    key = f'{part}_idx'
    for name, shape, _ in whosmat(path):  # a damaged shape would be read for ever
        if math.prod(shape) > _MOST_VALUES:
            raise ValueError(f'{name} has shape {shape}')
    content = loadmat(path, variable_names=[key, *_COLUMNS])
    chosen = np.asarray(content[key]).ravel().astype(int) - 1
    if not ((chosen >= 0) & (chosen < len(content['labels'].ravel()))).all():
        raise IndexError(f'{key} has numbers outside of the list')
    names, pids, cams = (content[column].ravel()[chosen] for column in _COLUMNS)
    return [str(name.item()) for name in names], pids.astype(int).tolist(), cams.astype(int).tolist()
