"""Features with the names of their images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from glc.core.labels import as_labels, as_tensor
from glc.utils.files import atomic_file, write_csv

__all__ = ['ReIDFeatures', 'SearchResult']


@dataclass(frozen=True, eq=False)
class ReIDFeatures:
    """Features of N images, their names, and what is known about them.

    Args:
        features: float32 (N, D).
        names: Name of every image: the path of a file, or what was given.
        pids: Identities (N,) int64, -1 where unknown; None: all unknown.
        cam_ids: Cameras (N,) int64, -1 where unknown; None: all unknown.
        network: Fingerprint of the weights that made them (:attr:`~glc.apis.ReIDInferencer.network`), and whether with
            ``camera_norm``; empty where nobody knows it.

    Raises:
        ValueError: If the lengths differ, or a part is none of the above.

    Example:
        >>> found = ReIDFeatures(np.eye(2, dtype=np.float32), ['a.jpg', 'b.jpg'])
        >>> len(found), found.pids.tolist()
        (2, [-1, -1])
    """

    features: np.ndarray
    names: Sequence[str]
    pids: np.ndarray = field(default=None)  # type: ignore[arg-type]  # an array after __post_init__
    cam_ids: np.ndarray = field(default=None)  # type: ignore[arg-type]
    network: str = ''

    def __post_init__(self) -> None:
        given = as_tensor(self.features, 'features')
        if given.is_complex():
            raise ValueError(f'features must be real numbers, got values of type {given.dtype}')
        features = given.to('cpu', torch.float32).numpy()
        names = [str(name) for name in self.names]
        if features.ndim != 2 or len(features) != len(names):
            raise ValueError(f'features must be (N, D) for {len(names)} names, got shape {features.shape}')
        object.__setattr__(self, 'features', features)
        object.__setattr__(self, 'names', names)
        for part in ('pids', 'cam_ids'):
            values = getattr(self, part)
            known = np.full(len(names), -1) if values is None else as_labels(values, len(names), part).numpy()
            object.__setattr__(self, part, known)

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: str | Path) -> Path:
        """Write an .npz file: ``features``, ``pid``, ``cam``, ``path`` (the names), and ``network`` where it is known.

        Args:
            path: The file; ``.npz`` is added where it is missing.

        Returns:
            The path of the file.
        """
        path = Path(path)
        path = path if path.suffix == '.npz' else Path(f'{path}.npz')
        known: dict[str, Any] = {'network': np.array(self.network)} if self.network else {}
        with atomic_file(path) as part:
            np.savez(
                part,
                features=self.features,
                pid=self.pids,
                cam=self.cam_ids,
                path=np.array(self.names, dtype=str),
                **known,
            )
        return path

    def save_table(self, path: str | Path) -> None:
        """Write a CSV file with the columns ``row`` (from 0), ``path``, ``pid`` and ``cam``."""
        rows = zip(range(len(self)), self.names, self.pids, self.cam_ids, strict=True)
        write_csv(path, [('row', 'path', 'pid', 'cam'), *rows])

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what :meth:`save`, ``glc-extract`` or ``tools/analysis_tools/extract_features.py`` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no features with names.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                missing = {'features', 'path'} - set(file)
                if missing:
                    raise ValueError(f'it lacks {" and ".join(sorted(missing))}, and has {", ".join(file)}')
                known = {name: file[name] for name in ('pid', 'cam', 'network') if name in file}
                return cls(
                    file['features'],
                    file['path'].tolist(),
                    known.get('pid'),  # type: ignore[arg-type]
                    known.get('cam'),  # type: ignore[arg-type]
                    str(known.get('network', '')),
                )
        except FileNotFoundError:
            raise
        except Exception as error:  # of many kinds, as the file may hold anything
            raise ValueError(f"'{Path(path).absolute()}' holds no features with names: {error}") from error


@dataclass(frozen=True, eq=False)
class SearchResult:
    """The most similar gallery images of Q queries.

    Attributes:
        queries: Names of the queries.
        names: Of every query, the names of K gallery images, the most similar first.
        scores: Their cosine similarities (Q, K) float32.
        rows: Their rows (Q, K) int64 in the gallery.

    Iteration gives ``(query, [(name, score), ...])``.
    """

    queries: list[str]
    names: list[list[str]]
    scores: np.ndarray
    rows: np.ndarray

    def __iter__(self) -> Iterator[tuple[str, list[tuple[str, float]]]]:
        for query, names, scores in zip(self.queries, self.names, self.scores.tolist(), strict=True):
            yield query, list(zip(names, scores, strict=True))
