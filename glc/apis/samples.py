"""Augmented images of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from tqdm import tqdm

from glc.apis.config_checks import ConfigError
from glc.datasets import Draw
from glc.registry import DATASETS, MODELS

__all__ = ['augmented_samples']


def augmented_samples(
    cfg: Config, images: int, samples: int, seed: int = 0
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Sample what the train pipeline and the preprocessor of a config make of some images.

    Args:
        cfg: Prepared config.
        images: Images, chosen at random.
        samples: Samples of each.
        seed: Of the choice and of the samples.

    Yields:
        File of an image, and its samples, arrays (H, W, 3) uint8 in RGB. Where the pipeline makes several crops of a
        sample, all of them.

    Raises:
        ConfigError: If the config has no ``train_dataloader`` or no ``model.data_preprocessor``.
    """
    if not cfg.get('train_dataloader'):
        raise ConfigError('augmented samples need train_dataloader, which the config does not have')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    plan = cfg.model.get('data_preprocessor') or {'type': 'ReIDDataPreprocessor'}
    preprocessor = MODELS.build(plan)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(dataset))[:images])
    for row in tqdm(rows.tolist(), 'augment', disable=None, leave=False):
        items = [dataset[Draw(row, int(draw))] for draw in rng.integers(2**31, size=samples)]
        inputs = preprocessor(pseudo_collate(items))['inputs']
        parts = list(inputs.values()) if isinstance(inputs, Mapping) else [inputs]
        views = [view for part in parts for view in (part.flatten(0, 1) if part.ndim == 5 else part)]
        yield dataset.get_data_info(row)['img_path'], [_as_pixels(view, preprocessor) for view in views]


def _as_pixels(view: torch.Tensor, preprocessor: torch.nn.Module) -> np.ndarray:
    """Take the normalization back; the result is RGB, as the preprocessor's statistics are."""
    pixels = (view * preprocessor.std + preprocessor.mean).round().clamp(0, 255)
    return pixels.byte().permute(1, 2, 0).cpu().numpy()
