"""Features of the training images of a config."""

from typing import Any

from mmengine.config import Config
from torch import Tensor

from glc.apis.build import build_for_test
from glc.datasets import BaseReIDDataset
from glc.engine import FeatureExtractor
from glc.engine.feature_extractor import deterministic_pipeline
from glc.registry import DATASETS


def training_features(
    cfg: Config, checkpoint: str | None = None, camera_norm: bool = False
) -> tuple[Tensor, BaseReIDDataset]:
    """Extract the unit features of the training images under the test pipeline.

    Args:
        cfg: Config with a ``work_dir``, as loaded from its file. It needs no test set.
        checkpoint: File to load; without it, the network that training would start from is used.
        camera_norm: See :class:`glc.engine.FeatureExtractor`.

    Returns:
        Features (N, D) float32 on the device of the model, and the data set whose images they belong to.

    Raises:
        ValueError: If the config has no pipeline for features, or, with ``camera_norm``, the network no BatchNorm.
    """
    runner = build_for_test(cfg, checkpoint)
    loader = extraction_loader(cfg)
    dataset = DATASETS.build(cfg.train_dataloader.dataset).with_pipeline(deterministic_pipeline(cfg))
    extract = FeatureExtractor(
        dataset, loader.get('batch_size', 1), loader.get('num_workers', 0), camera_norm=camera_norm
    )
    return extract(runner.model), dataset


def extraction_loader(cfg: Config) -> dict[str, Any]:
    """Return the loader whose batch size and workers an extraction takes: that of the evaluation, else of training."""
    return cfg.get('test_dataloader') or cfg.get('train_dataloader') or {}
