"""From anybody's folder of person crops to training and test images."""

import csv
import os
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from glc.utils.files import atomic_folder, write_csv

from .image_folder import compiled_pattern
from .walk import walk

__all__ = ['PREPARED_PATTERN', 'NamedFile', 'read_named_images', 'split_images', 'write_split']

PREPARED_PATTERN = r'^[^/]+/(?:-1|(?P<pid>[^/]+))/(?:-1|(?P<cam>[^/]+))/'
"""The pattern of :class:`ImageFolderReID` for folders that :func:`write_split` makes."""

_FOLDER_NAME = re.compile(r'[^/\0.@#$][^/\0]*')


class NamedFile(NamedTuple):
    """An image, and what is known of it.

    Attributes:
        path: The file.
        pid: Name of the person; empty where unknown.
        cam: Name of the camera; empty where unknown.
    """

    path: str
    pid: str
    cam: str


def read_named_images(folder: str, pattern: str | None = None, table: str | None = None) -> list[NamedFile]:
    """List the images in a folder, at any depth, with their identities and cameras.

    Args:
        folder: The folder.
        pattern: Regular expression as in :class:`ImageFolderReID`, searched in paths relative to the folder.
        table: CSV file with a column ``path``, relative to the folder, and columns ``pid`` and ``cam``, both optional.
            Only its images are taken.

    Returns:
        Images in the order of their paths. An identity or camera that is absent, empty or -1 is unknown.

    Raises:
        ValueError: The pattern does not match an image, the table has other columns or names an image twice, or both
            are given.
        FileNotFoundError: The folder or an image of the table is missing, or the folder has no image.
    """
    if pattern is not None and table is not None:
        raise ValueError('give a pattern or a table, not both')
    place = os.path.abspath(folder)
    if table is not None:
        rows = _read_table(table)
        missing = [path for path in rows if not os.path.isfile(os.path.join(folder, path))]
        if missing:
            raise FileNotFoundError(
                f"{len(missing):,} of {len(rows):,} images of '{os.path.abspath(table)}' are not in '{place}', such as "
                f"'{missing[0]}'"
            )
    else:
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"the folder '{place}' does not exist")
        regex = re.compile('') if pattern is None else compiled_pattern(pattern)
        matches = {path: regex.search(path) for path in walk(folder).images}
        unmatched = [path for path, match in matches.items() if match is None]
        if unmatched:
            raise ValueError(
                f"pattern {pattern!r} does not match {len(unmatched):,} of {len(matches):,} images in '{place}', such "
                f"as '{unmatched[0]}'. Make what some images lack optional: (?:...)?"
            )
        rows = {path: match.groupdict() for path, match in matches.items() if match is not None}
    if not rows:
        raise FileNotFoundError(f"there is no image in '{os.path.abspath(table) if table else place}'")
    return [
        NamedFile(os.path.join(folder, path), *(_known(rows[path].get(key)) for key in ('pid', 'cam')))
        for path in sorted(rows)
    ]


def split_images(
    pids: Sequence[str], cams: Sequence[str], test_share: float = 0.2, seed: int = 0
) -> list[str]:
    """Split images into training, query and gallery, without a person in both training and test.

    Of every test person and camera, one image is a query, if that leaves every query of the person a gallery image
    under another camera. People of whom there is no such query are trained on, and so are images of unknown people.
    Where no identity is known, random images are taken for the test, one query to nine gallery images: to look at,
    since they cannot be scored.

    Args:
        pids: Identities; empty = unknown.
        cams: Cameras; empty = unknown, which counts as another camera than any.
        test_share: Share of the people that are tested on, from 0 to 1; of the images, where no identity is known.
        seed: Seed of the choice.

    Returns:
        'train', 'query' or 'gallery' of every image.

    Raises:
        ValueError: The share is out of range.

    Example:
        >>> split_images(['eve', 'eve', 'bob', ''], ['door', 'hall', 'door', 'door'], test_share=1.0)
        ['query', 'gallery', 'train', 'train']
    """
    if not 0 <= test_share <= 1:
        raise ValueError(f'test_share must be from 0 to 1, got {test_share}')
    generator = np.random.default_rng(seed)
    parts = ['train'] * len(pids)
    rows_of = defaultdict(list)
    for row, pid in enumerate(pids):
        if pid:
            rows_of[pid].append(row)
    if not rows_of:
        for place, row in enumerate(generator.permutation(len(pids))[: round(test_share * len(pids))]):
            parts[row] = 'gallery' if place % 10 else 'query'
        return parts
    queries = {pid: _queries(rows_of[pid], cams, generator) for pid in sorted(rows_of)}
    testable = [pid for pid, rows in queries.items() if rows]
    for index in generator.permutation(len(testable))[: round(test_share * len(rows_of))]:
        pid = testable[index]
        for row in rows_of[pid]:
            parts[row] = 'query' if row in queries[pid] else 'gallery'
    return parts


def write_split(images: Sequence[NamedFile], parts: Sequence[str], out: str, copy: bool = False) -> None:
    """Write a folder for :class:`ImageFolderReID` with :data:`PREPARED_PATTERN` and ``folders={'train': 'train'}``.

    Images are at ``PART/PERSON/CAMERA/NUMBER_NAME``, with -1 for an unknown person or camera. ``manifest.csv`` says
    where each comes from. The folder is complete or not there.

    Args:
        images: The images.
        parts: Part of each, as of :func:`split_images`.
        out: Folder to make.
        copy: Copy the files instead of linking to them.

    Raises:
        FileExistsError: The folder is there and not empty, or is a file.
        ValueError: An identity or a camera cannot be the name of a folder.
    """
    target = Path(os.path.abspath(out))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise FileExistsError(f"'{target}' is a file, or not empty: remove it, or name another folder")
    for image in images:
        for name in (image.pid, image.cam):
            if name and not _FOLDER_NAME.fullmatch(name):
                raise ValueError(
                    f"{name!r}, which '{image.path}' has as its person or camera, cannot be the name of a folder: "
                    'it may not begin with one of . @ # $ nor contain /'
                )
    rows = []
    with atomic_folder(target) as folder:
        for number, (image, part) in enumerate(
            zip(tqdm(images, 'writing images', disable=None), parts, strict=True)
        ):
            name = f'{number:06d}_{os.path.basename(image.path)}'
            path = Path(part, image.pid or '-1', image.cam or '-1', name)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            source = os.path.realpath(image.path)
            if copy:
                shutil.copyfile(source, folder / path)
            else:
                (folder / path).symlink_to(source)
            rows.append((path.as_posix(), source, part, image.pid, image.cam))
        write_csv(folder / 'manifest.csv', [('path', 'source', 'part', 'pid', 'cam'), *rows])


def _queries(rows: Sequence[int], cams: Sequence[str], generator: np.random.Generator) -> list[int]:
    """Choose at most one query per camera among the images of a person, so that each has a match in the rest."""
    left, queries = Counter(cams[row] for row in rows), dict[str, int]()
    for row in generator.permutation(rows).tolist():
        if cams[row] in queries:
            continue
        left[cams[row]] -= 1
        with_it = {**queries, cams[row]: row}
        if all(any(n and (not cam or cam != other) for other, n in left.items()) for cam in with_it):
            queries = with_it
        else:
            left[cams[row]] += 1
    return list(queries.values())


def _known(name: str | None) -> str:
    return '' if name is None or name.strip() == '-1' else name.strip()


def _read_table(path: str) -> dict[str, dict[str, str]]:
    place = os.path.abspath(path)
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file)
            columns, rows = reader.fieldnames or [], list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"'{place}' is no CSV file in UTF-8: {error}") from error
    if 'path' not in columns:
        raise ValueError(
            f"'{place}' needs a first line with the column path, and pid and cam where they are known; it has "
            f'{", ".join(columns) or "no line"}'
        )
    names = [row['path'] or '' for row in rows]  # None in a line that ends before
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise ValueError(f"'{place}' names {len(twice):,} images twice, such as '{twice[0]}'")
    return dict(zip(names, rows, strict=True))
