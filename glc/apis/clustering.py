"""Clusters of images, and a folder in which a person can look at them."""

import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from glc.apis.features import ReIDFeatures
from glc.core.correctors import GLC, BaseCorrector, UnusableLabelsError
from glc.core.evaluation import label_confidence
from glc.core.labelers import AdaptiveConsensus, BaseLabeler
from glc.core.labelers.adaptive import consensus_distance
from glc.core.labels import compact_labels
from glc.core.neighbors import FeatureView
from glc.utils.files import atomic_folder, check_outside, check_place, write_csv
from glc.utils.images import encoded

__all__ = ['MODES', 'ImageClusters', 'check_out', 'cluster_images', 'write_clusters_folder']

MODES = ('link', 'hardlink', 'copy')
_FILES = '.files'  # what a folder of clusters consists of
_OUTLIERS = 'outliers'


@dataclass(frozen=True, eq=False)
class ImageClusters:
    """Clusters of N images.

    Attributes:
        names: Name of every image.
        labels: Clusters (N,) int64, the largest cluster is 0; -1 = outlier.
        was_outlier: Whether an image (N,) had no cluster before the correction.
        confidence: float32 (N,), see :func:`~glc.core.evaluation.label_confidence`.
        cam_ids: Cameras (N,), -1 where unknown.
        problem: Why the labels could not be corrected.
    """

    names: list[str]
    labels: np.ndarray
    was_outlier: np.ndarray
    confidence: np.ndarray
    cam_ids: np.ndarray
    problem: str | None = None

    @property
    def num_clusters(self) -> int:
        """Number of clusters C."""
        return int(self.labels.max(initial=-1)) + 1

    def rows(self, cluster: int) -> np.ndarray:
        """Return the images of a cluster, or the outliers (-1), the most confident first."""
        rows = np.flatnonzero(self.labels == cluster)
        return rows[np.argsort(-self.confidence[rows], kind='stable')]

    def write_table(self, path: str | Path) -> None:
        """Write a CSV file with the columns ``file``, ``cluster``, ``was_outlier`` (0 or 1) and ``confidence``."""
        confidence = (f'{value:.4f}' for value in self.confidence)
        rows = zip(self.names, self.labels, self.was_outlier.astype(int), confidence, strict=True)
        write_csv(path, [('file', 'cluster', 'was_outlier', 'confidence'), *rows])


_LABELER = AdaptiveConsensus()
_CORRECTOR = GLC()


def cluster_images(
    features: ReIDFeatures, labeler: BaseLabeler = _LABELER, corrector: BaseCorrector | None = _CORRECTOR
) -> ImageClusters:
    """Cluster images by their features, and by their cameras where these are known.

    Args:
        features: Features of N images.
        labeler: Finds the clusters.
        corrector: Corrects them; None leaves them as they are.

    Returns:
        The clusters. Where the labels hold nothing that the corrector could learn from, they stay as they are, and
        ``problem`` says why.

    Raises:
        ValueError: If there are no images, features are not finite, or a parameter is out of range.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> people = np.repeat(np.arange(12), 15)
        >>> points = rng.normal(size=(12, 16))[people] + 0.2 * rng.normal(size=(180, 16))
        >>> found = cluster_images(ReIDFeatures(points, [f'{row}.jpg' for row in range(180)]), corrector=None)
        >>> found.num_clusters, len(found.rows(0))
        (12, 15)
    """
    parts = [part for part in (labeler, corrector) if part is not None]
    view = FeatureView(features.features, features.cam_ids, expected_k=max(part.expected_k for part in parts))
    before = after = labeler(view)
    problem = None
    if corrector is not None:
        try:
            after = corrector.correct(view, before)
        except UnusableLabelsError as error:
            problem = str(error)
    return ImageClusters(
        list(features.names),
        _largest_first(after),
        before < 0,
        label_confidence(consensus_distance(view), after),
        features.cam_ids,
        problem,
    )


def check_out(out: str | Path, overwrite: bool, images: str | Path | None = None) -> None:
    """Check that a folder of clusters may be written, before anything is computed.

    Args:
        out: The folder.
        overwrite: Whether it may replace an earlier folder of clusters.
        images: Folder of the images, if they are in one.

    Raises:
        FileExistsError: If the folder is not empty and may not be replaced, or holds files of somebody else.
        OSError: If nothing can be written there.
        ValueError: If the folder is inside that of the images, which it would become a part of.
    """
    if images is not None:
        check_outside(out, images)
    out = Path(os.path.realpath(out))
    check_place(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    others = [out.name]
    if out.is_dir():
        own = {_FILES}
        if (out / _FILES).is_file():
            own |= set((out / _FILES).read_text('utf-8', 'surrogateescape').split('\0'))
        others = sorted(_files_in(out) - own)
    if others:
        raise FileExistsError(
            f"'{out}' holds what glc-cluster did not write there ({', '.join(others[:3])}): choose another folder, or "
            'move these files away'
        )
    if not overwrite:
        raise FileExistsError(f"'{out}' holds clusters already: choose another folder, or add --overwrite")


def write_clusters_folder(
    clusters: ImageClusters,
    out: str | Path,
    mode: str = 'link',
    overwrite: bool = False,
    features: ReIDFeatures | None = None,
    about: str = '',
) -> None:
    """Write a folder in which a person can look at clusters. It is complete or not there.

    - ``clusters/0000/`` and so on: the images of a cluster; ``clusters/outliers/``: the others;
    - ``clusters.csv``: file, cluster (-1: outlier), was_outlier and confidence of every image;
    - ``sheets/0000.jpg`` and so on: all images of a cluster in one picture;
    - ``index.html``: all clusters in one page, which needs no other file;
    - ``features.npz``, if features are given.

    The images themselves are only read.

    Args:
        clusters: The clusters; the names are image files.
        out: The folder.
        mode: How images get into the folders: ``'link'`` (symbolic links), ``'hardlink'`` or ``'copy'``.
        overwrite: Whether to replace an earlier folder of clusters.
        features: Features to keep.
        about: A line for the page: which network, labels and correction.

    Raises:
        FileExistsError: As :func:`check_out`.
        FileNotFoundError: If a name is no file.
        OSError: If the folder cannot be written.
        ValueError: If the mode is none of the above.
    """
    from glc.visualization import cluster_page, contact_sheet

    if mode not in MODES:
        raise ValueError(f'mode must be one of {", ".join(MODES)}, got {mode!r}')
    missing = [name for name in clusters.names if not os.path.isfile(name)]
    if missing:
        raise FileNotFoundError(
            f'{len(missing):,} of {len(clusters.names):,} images are no files, the first is '
            f"'{os.path.abspath(missing[0])}': run in the folder in which the features were extracted, or name the "
            'folder of the images'
        )
    check_out(out, overwrite)
    numbers = [*range(clusters.num_clusters), *([-1] if (clusters.labels < 0).any() else [])]
    with atomic_folder(out) as folder:
        for number in tqdm(numbers, desc='write clusters', disable=None, leave=False):
            name = f'{number:04d}' if number >= 0 else _OUTLIERS
            rows = clusters.rows(number)
            _place([clusters.names[row] for row in rows], folder / 'clusters' / name, _PLACERS[mode])
            (folder / 'sheets').mkdir(exist_ok=True)
            sheet = contact_sheet(
                [clusters.names[row] for row in rows],
                f'{name}: {len(rows):,} images',
                clusters.was_outlier[rows],
            )
            (folder / 'sheets' / f'{name}.jpg').write_bytes(encoded(sheet, '.jpg', quality=85))
        clusters.write_table(folder / 'clusters.csv')
        page = cluster_page(clusters, about)
        (folder / 'index.html').write_text(page, encoding='utf-8', errors='surrogateescape')
        if features is not None:
            features.save(folder / 'features.npz')
        written = sorted(_files_in(folder))
        (folder / _FILES).write_text('\0'.join(written), 'utf-8', 'surrogateescape')
        check_out(out, overwrite)


_PLACERS: dict[str, Callable[[str, Path], object]] = {
    'link': lambda source, target: target.symlink_to(os.path.realpath(source)),
    'hardlink': lambda source, target: target.hardlink_to(os.path.realpath(source)),
    'copy': shutil.copy2,
}


def _place(names: list[str], folder: Path, put: Callable[[str, Path], object]) -> None:
    """Put images into a folder under their own names; where these are not unique, with those of their folders."""
    folder.mkdir(parents=True)
    plain = [os.path.basename(name) for name in names]
    if len(set(plain)) < len(plain):
        above = os.path.commonpath([os.path.dirname(os.path.abspath(name)) for name in names])
        plain = [os.path.relpath(name, above).replace(os.sep, '__') for name in names]
    seen: Counter[str] = Counter()
    for name, short in zip(names, plain, strict=True):
        seen[short] += 1
        stem, ending = os.path.splitext(short)
        put(name, folder / (short if seen[short] == 1 else f'{stem}__{seen[short]}{ending}'))


def _files_in(folder: Path) -> set[str]:
    """List all files below a folder, relative to it; links are not followed."""
    return {
        os.path.relpath(os.path.join(place, name), folder)
        for place, inside, files in os.walk(folder)
        for name in [*files, *(entry for entry in inside if os.path.islink(os.path.join(place, entry)))]
    }


def _largest_first(labels: np.ndarray) -> np.ndarray:
    compact = compact_labels(labels)
    sizes = np.bincount(compact[compact >= 0], minlength=1)
    rank = np.empty(len(sizes), np.int64)
    rank[np.argsort(-sizes, kind='stable')] = np.arange(len(sizes))
    return np.where(compact >= 0, rank[compact], -1)
