"""Features and rankings that pictures of a config need."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config
from torch import Tensor

from glc.apis.build import build_for_test
from glc.apis.config_checks import ConfigError
from glc.apis.run_folder import RunFolder
from glc.core.evaluation import KReciprocalReranking, rank_gallery, score_queries
from glc.datasets import BaseReIDDataset
from glc.engine import FeatureExtractor
from glc.engine.feature_extractor import deterministic_pipeline
from glc.registry import DATASETS

__all__ = [
    'RankedTest',
    'build_test_set',
    'extract_quietly',
    'features_of_run',
    'known_groups',
    'known_identities',
    'rank_test',
    'same_camera_rule',
    'some_rows',
    'verdicts',
]


@dataclass(frozen=True)
class RankedTest:
    """The queries of a test, and what was ranked first.

    Args:
        dataset: Queries and gallery.
        queries: Rows (Q,) of the queries in the data set.
        ranking: Rows (Q, K) of the gallery images in the data set, best first; -1 where there are no more.
        matches: (Q, K): 1 = shows the person of the query, 0 = another one, -1 = unknown.
        ap: Average precision (Q,), NaN where a query is not counted.
    """

    dataset: BaseReIDDataset
    queries: np.ndarray
    ranking: np.ndarray
    matches: np.ndarray
    ap: np.ndarray

    def ordered(self, order: str, number: int, seed: int = 0) -> np.ndarray:
        """Choose queries.

        Args:
            order: 'worst' or 'best' first, by average precision; or 'random', in the order of the data set.
            number: How many.
            seed: Of the random choice.

        Returns:
            Their places in ``queries``.

        Raises:
            ValueError: Without identities, no query is better than another one.
        """
        if order == 'random':
            chosen = np.random.default_rng(seed).permutation(len(self.queries))[:number]
            return np.sort(chosen)
        counted = np.flatnonzero(~np.isnan(self.ap))
        if not len(counted):
            raise ValueError(
                f"the queries cannot be ordered '{order}' first: none has a known match in the gallery, and so an "
                "average precision; take the order 'random'"
            )
        by_ap = counted[np.argsort(self.ap[counted], kind='stable')]
        return by_ap[:number] if order == 'worst' else by_ap[::-1][:number]


def extract_quietly(cfg: Config, checkpoint: str | None, *datasets: BaseReIDDataset) -> list[Tensor]:
    """Extract the features of data sets under the test pipeline; nothing is written into the work dir.

    Args:
        cfg: Config as loaded from its file.
        checkpoint: File to load; None initializes the model as training would.
        *datasets: Data sets; their pipelines do not count.

    Returns:
        Unit features (N, D) of each, on the device of the model.
    """
    pipeline = deterministic_pipeline(cfg)
    loader = cfg.get('test_dataloader') or cfg.train_dataloader
    with tempfile.TemporaryDirectory() as folder:
        cfg = copy.deepcopy(cfg)
        cfg.work_dir, cfg.log_level = folder, 'WARNING'
        cfg.experiment_name = Path(
            folder
        ).name  # or a second runner of the same second takes what belongs to the first
        model = build_for_test(cfg, checkpoint).model
    batch, workers = loader.get('batch_size', 1), loader.get('num_workers', 0)
    return [FeatureExtractor(dataset.with_pipeline(pipeline), batch, workers)(model) for dataset in datasets]


def some_rows(number: int, images: int, seed: int) -> np.ndarray:
    """Choose rows of images at random, in order: (M,) of ``number``, at most ``images``."""
    return np.sort(np.random.default_rng(seed).permutation(number)[:images])


def known_groups(rows: np.ndarray, groups: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the groups (M,) of these rows by the name of their grouping, of those in which a group is known."""
    chosen = {name: numbers[rows] for name, numbers in groups.items()}
    return {name: numbers for name, numbers in chosen.items() if (numbers >= 0).any()}


def features_of_run(run: RunFolder, images: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Extract features of training images of a run, with its last checkpoint.

    Args:
        run: The run.
        images: Images, chosen at random.
        seed: Of the choice.

    Returns:
        Features (M, D); and the number of the group of every image (M,), negative = none, by ``cluster``, ``camera``
        and ``identity``, of what is known.

    Raises:
        FileNotFoundError: If the run has no checkpoint.
        ValueError: If nothing is known of the images.
    """
    if run.checkpoint is None:
        raise FileNotFoundError(f"'{run.work_dir.resolve()}' has no checkpoint, which makes the features")
    dataset = run.dataset
    rows = some_rows(len(dataset), images, seed)
    groups = {'camera': dataset.cam_ids, 'identity': dataset.pids}
    if run.epochs and len(labels := run.labels(run.epochs[-1]).final) == len(dataset):
        groups = {'cluster': labels, **groups}
    known = known_groups(rows, groups)
    if not known:
        raise ValueError('neither clusters nor cameras nor identities of the images are known')
    (features,) = extract_quietly(run.config, str(run.checkpoint), dataset.get_subset(rows.tolist()))
    return features.cpu().numpy(), known


def rank_test(
    features: Tensor, dataset: BaseReIDDataset, same_camera: str, top: int, rerank: bool
) -> RankedTest:
    """Rank the gallery of a test for all of its queries.

    Args:
        features: Features (N, D) of the data set.
        dataset: Queries and gallery.
        same_camera: See :func:`glc.core.evaluation.evaluate_ranking`.
        top: Gallery images per query.
        rerank: Whether to rank by the k-reciprocal distance.

    Raises:
        ValueError: If there is no query, or no gallery.
    """
    is_query = np.array([dataset.get_data_info(index)['is_query'] for index in range(len(dataset))])
    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    if not len(queries) or not len(gallery):
        raise ValueError(
            f'a picture needs query and gallery images, got {len(queries)} and {len(gallery)} in '
            f"{type(dataset).__name__}, '{Path(dataset.data_root).resolve()}'"
        )
    pids, cams = known_identities(dataset, is_query), dataset.cam_ids
    sides = (
        features[queries],
        features[gallery],
        pids[queries],
        pids[gallery],
        cams[queries],
        cams[gallery],
    )
    distance = KReciprocalReranking()(sides[0], sides[1]) if rerank else None
    ranking = rank_gallery(*sides, top=top, distance=distance, same_camera=same_camera, unlabeled='keep')
    ranking = ranking[:, : len(gallery)]
    matches = verdicts(ranking, pids[queries], pids[gallery])
    scores = score_queries(*sides, distance=distance, same_camera=same_camera)
    return RankedTest(dataset, queries, np.where(ranking < 0, -1, gallery[ranking]), matches, scores['ap'])


def known_identities(dataset: BaseReIDDataset, is_query: np.ndarray) -> np.ndarray:
    """Return the identities (N,) of a test, -1 where unknown.

    Names of files whose people nobody knows often hold one number for all, 0 most often. So identities are unknown
    where all images have the same one, and those of queries that are distractors of the data set.

    Args:
        dataset: Queries and gallery.
        is_query: Whether an image (N,) is a query.
    """
    pids = dataset.pids
    if len(np.unique(pids[pids >= 0])) < 2:
        return np.full_like(pids, -1)
    return np.where(
        is_query & (pids == (-1 if dataset.distractor_pid is None else dataset.distractor_pid)), -1, pids
    )


def verdicts(ranking: np.ndarray, query_pids: np.ndarray, gallery_pids: np.ndarray) -> np.ndarray:
    """Say whether ranked images show the person of the query.

    Args:
        ranking: (Q, K) rows of the gallery, -1 = none.
        query_pids: Identities (Q,), negative = unknown.
        gallery_pids: Identities (G,), negative = unknown.

    Returns:
        (Q, K): 1 = yes, 0 = no, -1 = unknown.
    """
    found = np.where(ranking < 0, -1, gallery_pids[ranking])
    known = (found >= 0) & (query_pids[:, None] >= 0)
    return np.where(known, found == query_pids[:, None], -1)


def same_camera_rule(cfg: Config) -> str:
    """Return the rule of a config for images of the query's camera, 'drop' or 'keep'."""
    evaluators = cfg.get('test_evaluator') or []
    evaluators = evaluators if isinstance(evaluators, list) else [evaluators]
    return next((part.same_camera for part in evaluators if 'same_camera' in part), 'drop')


def build_test_set(cfg: Config) -> BaseReIDDataset:
    """Build the test set of a config.

    Raises:
        ConfigError: If it has none.
    """
    loader = cfg.get('test_dataloader')
    if not loader:
        raise ConfigError('ranked lists need test_dataloader, which the config does not have')
    return DATASETS.build(loader.dataset)
