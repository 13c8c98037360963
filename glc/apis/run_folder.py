"""What a training has left in its work dir."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from mmengine.config import Config

from glc.apis.build import load_config
from glc.datasets import BaseReIDDataset
from glc.engine.clusters import labelings_in, read_clusters
from glc.engine.work_dir import TEMPLATES, checkpoints_in, pointed_to
from glc.registry import DATASETS
from glc.utils.scalars import read_scalars

__all__ = ['RunFolder', 'StoredLabels', 'read_arrays']


def read_arrays(path: str | Path, *needed: str) -> dict[str, np.ndarray]:
    """Read the arrays of an .npz file; no code in the file is run.

    Args:
        path: The file.
        *needed: Arrays that it must have.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .npz file, is damaged, or lacks an array.
    """
    place = f"'{Path(path).resolve()}'"
    if not Path(path).is_file():
        raise FileNotFoundError(f'{place} does not exist')
    try:
        with np.load(path) as file:
            arrays = dict(file)
    except Exception as error:  # of many kinds, as the file may hold anything
        raise ValueError(f'{place} cannot be read as an .npz file: {error}') from error
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f'{place} has no array {", ".join(missing)}, but {", ".join(arrays) or "none"}')
    return arrays


@dataclass(frozen=True)
class StoredLabels:
    """One labeling of a run.

    Args:
        epoch: 1-based epoch that trained on it.
        labels: Labels (N,) of the labeler; -1 = outlier.
        corrected: Labels (N,) after the correction; None where nothing was corrected.
        certainty: Cosine similarity (N,) of every image and the center of its cluster; NaN for outliers.
    """

    epoch: int
    labels: np.ndarray
    corrected: np.ndarray | None
    certainty: np.ndarray

    @property
    def final(self) -> np.ndarray:
        """Labels (N,) that were trained on."""
        return self.labels if self.corrected is None else self.corrected


class RunFolder:
    """Reader of a work dir. Whatever is missing, the rest can be read: the run may go on, or have been killed.

    Args:
        work_dir: The folder.
        options: Overrides of its config, as by ``--cfg-options``.

    Raises:
        FileNotFoundError: If it is no folder, or nothing in it is of a training.
    """

    def __init__(self, work_dir: str | Path, options: dict | None = None) -> None:
        self.work_dir = Path(work_dir)
        self.options = options
        if not (self.config_file or self.scalars or self.epochs or self.checkpoint):
            raise FileNotFoundError(
                f"'{self.work_dir.resolve()}' has no config, no log of scalars, no labels and no checkpoint: give the "
                'work dir of a training, such as work_dirs/NAME_OF_THE_CONFIG'
            )

    @cached_property
    def config_file(self) -> Path | None:
        """The config of the last training in the folder, which a test there does not change."""
        of_training = sorted(self.work_dir.glob('*.py'), key=lambda path: path.stat().st_mtime)
        files = of_training or sorted(self.work_dir.glob('*/vis_data/config.py'))
        return files[-1] if files else None

    @cached_property
    def config(self) -> Config:
        """The config, ready to build from.

        Raises:
            FileNotFoundError: If the folder has none.
        """
        if self.config_file is None:
            raise FileNotFoundError(f"'{self.work_dir.resolve()}' has no config file")
        return load_config(str(self.config_file), self.options, str(self.work_dir))

    @cached_property
    def scalars(self) -> dict[str, dict[int, float]]:
        """Scalars by name, by 1-based epoch."""
        return read_scalars(self.work_dir)

    @cached_property
    def versions(self) -> str:
        """Versions of the software, as the last log names them; empty where no log does."""
        for path in sorted(self.work_dir.glob('*/*.log'), reverse=True):
            lines = path.read_text(errors='replace').splitlines()
            found = [
                line[line.index(' glc ') + 1 :] for line in lines if ' glc ' in line and ', torch ' in line
            ]
            if found:
                return found[-1]
        return ''

    @cached_property
    def checkpoint(self) -> Path | None:
        """The newest checkpoint."""
        named = pointed_to(self.work_dir)
        if named and (self.work_dir / named).is_file():
            return self.work_dir / named
        found = [path for name in TEMPLATES for path in checkpoints_in(self.work_dir, name).values()]
        return max(found, key=lambda path: path.stat().st_mtime, default=None)

    @cached_property
    def epochs(self) -> list[int]:
        """1-based epochs whose labelings are there."""
        return list(labelings_in(self.work_dir))

    def labels(self, epoch: int) -> StoredLabels:
        """Read the labeling of a 1-based epoch.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If the file cannot be read.
        """
        path = labelings_in(self.work_dir).get(epoch)
        if path is None:
            found = ', '.join(map(str, self.epochs)) or 'none'
            raise FileNotFoundError(
                f"'{self.work_dir.resolve()}' has no labels of epoch {epoch}, but of: {found}"
            )
        arrays = read_arrays(path, 'labels', 'certainty')
        return StoredLabels(epoch, arrays['labels'], arrays.get('corrected'), arrays['certainty'])

    @cached_property
    def last_corrected(self) -> StoredLabels | None:
        """The last labeling that was corrected; None where none was."""
        stored = map(self.labels, reversed(self.epochs))
        return next((labels for labels in stored if labels.corrected is not None), None)

    @cached_property
    def files(self) -> list[str]:
        """Files of the training images, in the order of the labels; empty where no labels were written."""
        path = self.work_dir / 'clusters.csv'
        return read_clusters(path)[0] if path.is_file() else []

    @cached_property
    def dataset(self) -> BaseReIDDataset:
        """The training images of the config."""
        return DATASETS.build(self.config.train_dataloader.dataset)
