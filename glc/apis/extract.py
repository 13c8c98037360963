"""Features of the training images of a config."""

from mmengine.config import Config
from torch import Tensor

from glc.apis.build import build_for_test
from glc.datasets import BaseReIDDataset
from glc.engine import FeatureExtractor
from glc.engine.feature_extractor import deterministic_pipeline
from glc.registry import DATASETS


def training_features(cfg: Config, checkpoint: str | None = None) -> tuple[Tensor, BaseReIDDataset]:
    """Extract the unit features of the training images under the test pipeline.

    Args:
        cfg: Config with a ``work_dir``, as loaded from its file. It needs no test set.
        checkpoint: File to load; without it, the network that training would start from is used.

    Returns:
        Features (N, D) float32 on the device of the model, and the data set whose images they belong to.

    Raises:
        ValueError: If the config has no pipeline for features.
    """
    runner = build_for_test(cfg, checkpoint)
    loader = cfg.get('test_dataloader') or cfg.train_dataloader
    dataset = DATASETS.build(cfg.train_dataloader.dataset).with_pipeline(deterministic_pipeline(cfg))
    return FeatureExtractor(dataset, loader.batch_size, loader.num_workers)(runner.model), dataset
