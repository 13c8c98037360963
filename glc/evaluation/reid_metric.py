"""Ranking scores of a query and gallery set."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from glc.core.ranking import evaluate_ranking
from glc.registry import METRICS


@METRICS.register_module()
class ReIDMetric(BaseMetric):
    """mAP, mINP and Rank-1/5/10 under the Market-1501 protocol, in percent.

    A query ignores gallery images of its own person and camera; a query without another match is not counted.

    Args:
        collect_device: Where the results of several processes are gathered, ``'cpu'`` or ``'gpu'``.
        prefix: Prefix of the names in the log.
    """

    default_prefix = 'reid'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the features and ids of a batch of predictions."""
        for sample in data_samples:
            ids = (sample['pid'], sample['cam_id'], int(sample['is_query']))
            self.results.append((sample['feature'].cpu(), ids))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Scores in percent of all predictions."""
        features = torch.stack([feature for feature, _ in results])
        pids, cams, is_query = np.array([ids for _, ids in results]).T
        query, gallery = is_query == 1, is_query == 0
        if not query.any() or not gallery.any():
            raise RuntimeError(
                f'evaluation needs query and gallery images, got {query.sum()} and {gallery.sum()}: '
                "use split='test' of a data set that has both"
            )
        scores = evaluate_ranking(
            features[query], features[gallery], pids[query], pids[gallery], cams[query], cams[gallery]
        )
        return {name: round(100 * float(value), 2) for name, value in scores.items()}
