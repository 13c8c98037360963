"""Warnings of images that should not be where they are: under two identities, or in training and test."""

import hashlib
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.dist import is_main_process
from mmengine.logging import print_log

_MOST_FILES = 100_000  # to look at when a training starts


def warn_of_shared_images(data_list: Sequence[Mapping[str, Any]], distractor_pid: int | None = None) -> None:
    """Log a warning where images of the same content have different identities.

    Only files of the same size are read, and none of more than 100,000 images: a line in the log says so. Files that
    cannot be read are left to the transform that loads them.

    Args:
        data_list: Entries of a data set, with ``img_path`` and ``pid``.
        distractor_pid: Identity of people who are not searched; they are not compared.
    """
    if not is_main_process():
        return
    known = [info for info in data_list if info['pid'] >= 0 and info['pid'] != distractor_pid]
    if len(known) > _MOST_FILES:
        print_log(
            f'the contents of {len(known):,} images are not compared; tools/dataset_tools/check.py does that',
            logger='current',
        )
        return
    by_size = defaultdict(list)
    for info in known:
        with suppress(OSError):
            by_size[os.path.getsize(info['img_path'])].append(info)
    suspects = [
        info
        for size, infos in by_size.items()
        if size and len({info['pid'] for info in infos}) > 1
        for info in infos
    ]
    firsts: dict[bytes, Mapping[str, Any]] = {}
    with ThreadPoolExecutor() as pool:
        contents = pool.map(_digest, [info['img_path'] for info in suspects])
        pairs = [
            (firsts.setdefault(content, info), info) for content, info in zip(contents, suspects, strict=True)
        ]
    shared = [pair for pair in pairs if pair[0]['pid'] != pair[1]['pid']]
    if shared:
        example = ' and '.join(f"'{info['img_path']}' (pid {info['pid']})" for info in shared[0])
        print_log(
            f'{len(shared):,} images have the content of an image of another identity, such as {example}: one of the '
            'two identities is wrong',
            logger='current',
            level=logging.WARNING,
        )


def warn_of_overlap(train: BaseDataset, test: BaseDataset) -> None:
    """Log a warning where files are in the training set and in the test set, under whatever names.

    More than 100,000 files are not looked at.

    Args:
        train: Training set; its entries have ``img_path``.
        test: Test set.
    """
    if not is_main_process() or max(len(train), len(test)) > _MOST_FILES:
        return
    trained = {identity for _, identity in _files(train)}
    both = [path for path, identity in _files(test) if identity in trained]
    if both:
        print_log(
            f"{len(both):,} of {len(test):,} test images are files of the training set too, such as '{both[0]}': "
            'scores on them say nothing about other people',
            logger='current',
            level=logging.WARNING,
        )


def _files(dataset: BaseDataset) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the path of every image that is a file, and what is the same under all names of the file."""
    for index in range(len(dataset)):
        path = dataset.get_data_info(index)['img_path']
        with suppress(OSError):
            status = os.stat(path)
            yield path, (status.st_dev, status.st_ino)


def _digest(path: str) -> bytes:
    try:
        with open(path, 'rb') as file:
            return hashlib.file_digest(file, 'blake2b').digest()
    except OSError:
        return os.fsencode(path)  # like no other
