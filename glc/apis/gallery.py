"""A gallery of features to search in, in memory or on disk."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from glc.apis.features import ReIDFeatures, SearchResult
from glc.core.labels import as_unit_features
from glc.core.neighbors.search import nearest_rows
from glc.core.parameters import AT_LEAST_ONE, checked
from glc.utils.files import atomic_file

__all__ = ['Gallery']

_INDEX = 'gallery.json'
_VERSION = 1


class Gallery:
    """Features by name, which are added, searched, removed, saved and loaded.

    The search is exact: the cosine similarity with every image, in blocks. A loaded gallery stays on the disk
    (memory-mapped), and may be larger than the memory. All features are of one network: those of another one are
    refused.

    Attributes:
        names: Names of the G images.
        pids: Identities (G,) int64, -1 where unknown.
        cam_ids: Cameras (G,) int64, -1 where unknown.
        network: Fingerprint of the weights that made the features; empty where nobody knows it.

    Example:
        >>> gallery = Gallery.of(ReIDFeatures(np.eye(3), ['ann', 'bob', 'eve']))
        >>> found = gallery.search(np.array([[0.1, 0.9, 0.3]]), topk=2)
        >>> found.names, found.scores.round(2).tolist()
        ([['bob', 'eve']], [[0.9399999976158142, 0.3100000023841858]])
        >>> gallery.remove('bob')
        >>> len(gallery), 'bob' in gallery
        (2, False)
    """

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self.names: list[str] = []
        self.pids = np.empty(0, np.int64)
        self.cam_ids = np.empty(0, np.int64)
        self.network = ''

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return f'{type(self).__name__}({len(self):,} images, {self.dim} channels, network {self.network or "unknown"})'

    @property
    def dim(self) -> int:
        """Channels D of the features; 0 of an empty gallery."""
        return self._parts[0].shape[1] if self._parts else 0

    def add(self, features: ReIDFeatures) -> None:
        """Add images.

        Args:
            features: Their features (N, D), which are scaled to unit length, and their names.

        Raises:
            ValueError: If a name is there already or comes twice, another network made the features, or they are not
                finite. The gallery is unchanged then.
        """
        if not len(features):
            return
        self._check_network(features)
        there = set(self.names)
        twice = [name for name, count in Counter(features.names).items() if count > 1 or name in there]
        if twice:
            raise ValueError(
                f'{len(twice):,} names are in the gallery already or come twice ({", ".join(twice[:3])}): remove() '
                'them first, or give other names (NamedImage)'
            )
        unit = as_unit_features(features.features).numpy()
        self.network = features.network
        self._parts.append(unit)
        self.names = [*self.names, *features.names]
        self.pids = np.concatenate([self.pids, features.pids])
        self.cam_ids = np.concatenate([self.cam_ids, features.cam_ids])

    @classmethod
    def of(cls, features: ReIDFeatures) -> Self:
        """Make a gallery of features."""
        gallery = cls()
        gallery.add(features)
        return gallery

    def remove(self, names: str | Iterable[str]) -> None:
        """Remove images by their names.

        Raises:
            KeyError: If a name is not there. The gallery is unchanged then.
        """
        gone = {names} if isinstance(names, str) else set(names)
        unknown = sorted(gone - set(self.names))
        if unknown:
            raise KeyError(f'{len(unknown):,} names are not in the gallery ({", ".join(unknown[:3])})')
        kept = np.array([name not in gone for name in self.names], dtype=bool)
        bounds = np.cumsum([len(part) for part in self._parts])[:-1]
        parts = zip(self._parts, np.split(kept, bounds), strict=True)
        self._parts = [part if keep.all() else part[keep] for part, keep in parts if keep.any()]
        self.names = [name for name, keep in zip(self.names, kept, strict=True) if keep]
        self.pids, self.cam_ids = self.pids[kept], self.cam_ids[kept]

    @checked(topk=AT_LEAST_ONE)
    def search(self, query: ReIDFeatures | np.ndarray, topk: int = 10) -> SearchResult:
        """Find the most similar images.

        Args:
            query: Features of Q queries, with names or as an array (Q, D).
            topk: Images per query; a smaller gallery gives all it has.

        Returns:
            Names and cosine similarities, the most similar first.

        Raises:
            ValueError: If the gallery is empty, another network made the features, or they are not finite.
        """
        if not len(self):
            raise ValueError('the gallery is empty: add() features first')
        if not isinstance(query, ReIDFeatures):
            query = ReIDFeatures(query, [f'query_{row}' for row in range(len(query))], network=self.network)
        self._check_network(query)
        rows, scores = nearest_rows(as_unit_features(query.features).numpy(), self._parts, topk)
        names = [[self.names[row] for row in found] for found in rows.tolist()]
        return SearchResult(list(query.names), names, scores, rows)

    def save(self, folder: str | Path) -> None:
        """Write the gallery into a folder of its own, which may be the one that it was loaded from.

        The features are a .npy file. ``gallery.json`` names it and is written last, so whatever ends the writing, the
        gallery that was there before stays whole.

        Raises:
            OSError: If the folder cannot be written to.
            FileExistsError: If the folder holds something else.
        """
        folder = Path(folder)
        if folder.exists() and any(folder.iterdir()) and not (folder / _INDEX).is_file():
            raise FileExistsError(
                f"'{folder.absolute()}' is not empty and holds no gallery: choose another folder"
            )
        name = f'features-{uuid.uuid4().hex[:12]}.npy'
        with atomic_file(folder / name) as part, part.open('wb') as file:
            shape = (len(self), self.dim)
            header = {'descr': '<f4', 'fortran_order': False, 'shape': shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in self._blocks():
                file.write(block.astype('<f4', copy=False).tobytes())
        index = {
            'version': _VERSION,
            'features': name,
            'network': self.network,
            'names': self.names,
            'pids': self.pids.tolist(),
            'cam_ids': self.cam_ids.tolist(),
        }
        with atomic_file(folder / _INDEX) as part:
            part.write_text(json.dumps(index))
        for old in folder.glob('features-*.npy'):
            if old.name != name:
                old.unlink()

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Open a gallery that was saved; its features stay on the disk.

        Raises:
            FileNotFoundError: If the folder holds no gallery.
            ValueError: If it is damaged, or of a later version.
        """
        path = Path(folder, _INDEX)
        if not path.is_file():
            raise FileNotFoundError(f"'{Path(folder).absolute()}' holds no gallery: {_INDEX} is missing")
        gallery = cls()
        try:
            index: dict[str, Any] = json.loads(path.read_text())
            if index['version'] != _VERSION:
                raise ValueError(f'it has version {index["version"]}, this release reads {_VERSION}')
            names = index['names']
            pids, cam_ids = (np.array(index[part], np.int64) for part in ('pids', 'cam_ids'))
            known = ReIDFeatures(np.empty((len(names), 0)), names, pids, cam_ids, str(index['network']))
            if names:
                features = np.load(
                    path.with_name(Path(index['features']).name), mmap_mode='r', allow_pickle=False
                )
                if features.ndim != 2 or features.dtype != np.float32 or len(features) != len(names):
                    raise ValueError(
                        f'{index["features"]} has {features.dtype} {features.shape} for {len(names)} names'
                    )
                gallery._parts = [features]
        except Exception as error:  # of many kinds, as the files may hold anything
            raise ValueError(
                f"the gallery in '{Path(folder).absolute()}' cannot be read: {error!r}"
            ) from error
        gallery.names, gallery.pids, gallery.cam_ids = list(known.names), known.pids, known.cam_ids
        gallery.network = known.network
        return gallery

    def _blocks(self) -> Iterator[np.ndarray]:
        for part in self._parts:
            for start in range(0, len(part), 2**14):
                yield part[start : start + 2**14]

    def _check_network(self, features: ReIDFeatures) -> None:
        if not len(self):
            return
        own, other = (found.network or 'unknown' for found in (self, features))
        width = features.features.shape[1]
        if own != other or width != self.dim:
            raise ValueError(
                f'features of different networks cannot be compared: those of the gallery have {self.dim} channels '
                f'(network {own}), the new ones {width} (network {other}). Extract all with the same config and '
                'weights, and with or without camera_norm'
            )
