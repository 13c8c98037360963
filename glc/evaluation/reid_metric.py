"""Ranking scores of a query and gallery set."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, gather_object
from mmengine.evaluator import BaseMetric
from torch import Tensor

from glc.core.evaluation import KReciprocalReranking, QueryExpansion, evaluate_ranking
from glc.core.evaluation.ranking import SAME_CAMERA
from glc.core.parameters import checked
from glc.registry import METRICS


@METRICS.register_module()
class ReIDMetric(BaseMetric):
    """mAP, mINP and Rank-1/5/10 under the Market-1501 protocol, in percent.

    The protocol is that of :func:`glc.core.evaluation.evaluate_ranking`.

    The plain scores keep their names whatever else is asked for, so 'mAP' is always comparable. Other scores have names
    of their own: 'qe_mAP' with query expansion, 'rerank_mAP' with re-ranking, 'qe_rerank_mAP' with both. Query
    expansion and re-ranking see the features of the whole gallery, but no identity and no camera. Images of unknown
    identity (-1) take no part, be they queries or gallery.

    Args:
        collect_device: An argument of mmengine's metrics, ``'cpu'`` or ``'gpu'``. It has no effect here: results of
            several processes come through the process group.
        prefix: Prefix of the names in the log.
        rerank: Numbers of :class:`glc.core.evaluation.KReciprocalReranking`, ``True`` for the published ones, or
            ``None`` for no re-ranking.
        query_expansion: Numbers of :class:`glc.core.evaluation.QueryExpansion`, ``True`` for its defaults, or
            ``None`` for no expansion.
        same_camera: ``'drop'`` ignores images of a query's identity and camera, as the protocol does. ``'keep'`` ranks
            them as matches: for images of one camera, with a gallery that does not hold the queries themselves.

    Raises:
        TypeError: If a number has an unknown name.
        ValueError: If a number is out of range, or ``same_camera`` is no such word.

    Example:
        >>> metric = ReIDMetric(rerank=dict(k1=20, k2=6, lambda_value=0.3), query_expansion=dict(k=5, alpha=3.0))
        >>> metric.rerank.lambda_value, metric.query_expansion.gallery
        (0.3, False)
    """

    default_prefix = 'reid'

    @checked(same_camera=SAME_CAMERA)
    def __init__(
        self,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        rerank: dict | bool | None = None,
        query_expansion: dict | bool | None = None,
        same_camera: str = 'drop',
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.rerank = _option(KReciprocalReranking, rerank)
        self.query_expansion = _option(QueryExpansion, query_expansion)
        self.same_camera = same_camera

    @property
    def score_names(self) -> list[str]:
        """Names that the scores have in the log and for hooks."""
        one, other = np.ones((1, 1)), np.zeros(1, np.int64)
        names = evaluate_ranking(one, one, other, other, other, other + 1)
        kinds = ['', *['qe_'] * bool(self.query_expansion)]
        kinds += [f'{kind}rerank_' for kind in kinds] * bool(self.rerank)
        return [f'{self.prefix}/{kind}{name}' for kind in kinds for name in names]

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Keep the features and ids of a batch of predictions."""
        for sample in data_samples:
            ids = torch.tensor([sample['pid'], sample['cam_id'], int(sample['is_query'])])
            self.results.append((sample['feature'].cpu(), ids))

    def evaluate(self, size: int) -> dict[str, float]:
        """Score the predictions of all processes, on the first one.

        mmengine lets them go through pickled files in the current folder, which may be read-only, and where a run that
        is killed leaves them.

        Args:
            size: Number of images; those that the sampler has added at the end do not count.

        Returns:
            The scores, on every process.

        Raises:
            RuntimeError: There are no predictions, no queries, or no gallery.
        """
        mine = [torch.stack(part) for part in zip(*self.results, strict=True)]
        self.results.clear()
        parts: list[list[Tensor]] | None = gather_object(mine)
        scores: list[dict[str, float] | None] = [None]
        if parts is not None:
            if not any(parts):
                raise RuntimeError('evaluation got no images: the data set of the evaluation is empty')
            found = self.compute_metrics(_in_order([part for part in parts if part])[:size])
            scores[0] = {f'{self.prefix}/{name}': score for name, score in found.items()}
        broadcast_object_list(scores)
        assert scores[0] is not None
        return scores[0]

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Compute scores in percent of all predictions."""
        features, ids = (torch.stack(part) for part in zip(*results, strict=True))
        pids, cams, is_query = ids.numpy().T
        query, gallery = ((is_query == part) & (pids >= 0) for part in (1, 0))
        if not query.any() or not gallery.any():
            unknown = [int(((is_query == part) & (pids < 0)).sum()) for part in (1, 0)]
            raise RuntimeError(
                f'evaluation needs query and gallery images, got {query.sum()} and {gallery.sum()}: '
                "use split='test' of a data set that has both"
                + (
                    f'. {unknown[0]} queries and {unknown[1]} gallery images are of unknown identity (-1), of which no '
                    'score can be computed: give their identities, or only look at them with '
                    'tools/visualization/draw_ranked.py'
                    if any(unknown)
                    else ''
                )
            )
        compared = {'': (features[query], features[gallery])}
        if self.query_expansion:
            compared['qe_'] = self.query_expansion(*compared[''])
        compared_ids = pids[query], pids[gallery], cams[query], cams[gallery]
        score = partial(evaluate_ranking, same_camera=self.same_camera)
        scores: dict[str, float] = {}
        for name, pair in compared.items():
            scores |= _percent(name, score(*pair, *compared_ids))
            if self.rerank:
                reranked = score(*pair, *compared_ids, distance=self.rerank(*pair))
                scores |= _percent(f'{name}rerank_', reranked)
        return scores


def _in_order(parts: list[list[Tensor]]) -> list[tuple[Tensor, Tensor]]:
    """Join the predictions of processes, which took turns: features and ids of every image."""
    turns = torch.cat([torch.arange(len(ids)) for _, ids in parts])
    order = turns.argsort(stable=True)
    return list(zip(*(torch.cat(part)[order] for part in zip(*parts, strict=True)), strict=True))


def _option(kind: type, numbers: dict | bool | None) -> Any:
    """Build ``kind`` from its numbers or, of True, its defaults; None where it is not asked for."""
    if numbers is None or numbers is False:
        return None
    return kind() if numbers is True else kind(**numbers)


def _percent(name: str, scores: dict[str, float]) -> dict[str, float]:
    return {name + score: round(100 * float(value), 2) for score, value in scores.items()}
