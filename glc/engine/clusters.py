"""Clusters of a run as a file."""

import csv
from collections.abc import Iterable
from pathlib import Path

from glc.utils.files import atomic_file

__all__ = ['write_clusters']


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
