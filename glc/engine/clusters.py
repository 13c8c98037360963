"""Clusters of a run as files."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from glc.utils.files import atomic_file

__all__ = ['labelings_in', 'read_clusters', 'write_clusters', 'write_labeling']

_FOLDER, _NAME = 'labels', 'epoch_{}.npz'


def write_clusters(path: str | Path, files: Iterable[str], clusters: Iterable[int]) -> None:
    """Write a CSV file with the columns ``file`` and ``cluster``.

    Args:
        path: The file to write; complete or not there, as by :func:`~glc.utils.files.atomic_file`.
        files: File of every image (N,).
        clusters: Cluster of every image (N,), from 0; -1 for an outlier.

    Raises:
        OSError: The file cannot be written.
        ValueError: There are more files than clusters, or fewer.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, 'clusters.csv')
        ...     write_clusters(path, ['a.jpg', 'b, right.jpg', 'c.jpg'], [0, 0, -1])
        ...     print(path.read_text().strip())
        file,cluster
        a.jpg,0
        "b, right.jpg",0
        c.jpg,-1
    """
    with (
        atomic_file(path) as part,
        part.open('w', newline='', encoding='utf-8', errors='surrogateescape') as file,
    ):
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['file', 'cluster'])
        writer.writerows(zip(files, clusters, strict=True))


def read_clusters(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Read a file of :func:`write_clusters`.

    Args:
        path: The file.

    Returns:
        Files of the images, and their clusters (N,) int64.

    Raises:
        OSError: The file cannot be read.
        ValueError: It has other columns than ``file`` and ``cluster``, or a cluster that is no integer.
    """
    try:
        with Path(path).open(newline='', encoding='utf-8', errors='surrogateescape') as file:
            rows = list(csv.reader(file))
        if not rows or rows[0][:2] != ['file', 'cluster'] or any(len(row) < 2 for row in rows):
            raise ValueError('it has no columns file,cluster')
        return [row[0] for row in rows[1:]], np.array([row[1] for row in rows[1:]], np.int64)
    except (OverflowError, ValueError, csv.Error) as error:
        raise ValueError(
            f"'{Path(path).resolve()}' cannot be read as the clusters.csv of a run: {error}"
        ) from error


def write_labeling(
    work_dir: str | Path,
    epoch: int,
    labels: np.ndarray,
    corrected: np.ndarray | None,
    certainty: np.ndarray,
) -> None:
    """Write one labeling of a run to ``labels/epoch_N.npz``; about 4 bytes per image and labeling.

    Args:
        work_dir: Folder of the run.
        epoch: The N: 1-based epoch that trains on the labels.
        labels: Labels (N,) of the labeler; -1 = outlier.
        corrected: Labels (N,) after the correction; None where nothing was corrected.
        certainty: Cosine similarity (N,) of every image and the center of its cluster; NaN for outliers.

    Raises:
        OSError: The file cannot be written.
    """
    arrays: dict[str, Any] = {'labels': labels.astype(np.int32), 'certainty': certainty.astype(np.float16)}
    if corrected is not None:
        arrays['corrected'] = corrected.astype(np.int32)
    with atomic_file(Path(work_dir, _FOLDER, _NAME.format(epoch))) as path:
        np.savez_compressed(path, **arrays)


def labelings_in(work_dir: str | Path) -> dict[int, Path]:
    """Find the files of :func:`write_labeling`, by their 1-based epoch, in ascending order."""
    pattern = re.compile(_NAME.format(r'(\d+)'))
    found = ((pattern.fullmatch(path.name), path) for path in Path(work_dir, _FOLDER).glob('*.npz'))
    return dict(sorted((int(match[1]), path) for match, path in found if match))
