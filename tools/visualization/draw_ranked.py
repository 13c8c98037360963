"""Draw ranked results: ``python tools/visualization/draw_ranked.py CONFIG [CHECKPOINT] [options]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
from mmengine.config import DictAction

from glc.apis import build_for_test, load_config
from glc.core.evaluation import rank_gallery
from glc.engine import FeatureExtractor
from glc.registry import DATASETS
from glc.utils.files import atomic_file
from glc.visualization import draw_ranked_results


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Draw queries beside the gallery images ranked first '
        '(green: same person, red: another, gray: unknown)'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is used',
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='picture (default: WORK_DIR/ranked.png)')
    parser.add_argument('--queries', type=int, default=8, metavar='N', help='number of queries (default: 8)')
    parser.add_argument(
        '--top', type=int, default=10, metavar='K', help='gallery images per query (default: 10)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of the choice of queries (default: 0)')
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='overrides of the config'
    )
    return parser.parse_args()


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


def summary(first: np.ndarray) -> str:
    """Say in words how many of the images ranked first are right, of those of which that is known."""
    known = first[first >= 0]
    if not len(known):
        return 'none with a verdict, as identities are unknown'
    of_known = '' if len(known) == len(first) else f' of the {len(known)} with a verdict'
    return f'{known.mean():.0%}{of_known} right at rank 1'


def main() -> None:
    """Extract the features of the test split, rank, draw."""
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    runner = build_for_test(cfg, args.checkpoint)

    loader = cfg.test_dataloader
    dataset = DATASETS.build(loader.dataset)
    features = FeatureExtractor(dataset, loader.batch_size, loader.num_workers)(runner.model)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    paths = np.array([info['img_path'] for info in infos])
    is_query = np.array([info['is_query'] for info in infos])
    pids, cams = dataset.pids, dataset.cam_ids

    queries, gallery = np.flatnonzero(is_query), np.flatnonzero(~is_query)
    if not len(queries) or not len(gallery):
        raise SystemExit(
            f'a picture needs query and gallery images, got {len(queries)} and {len(gallery)} in {loader.dataset.type}'
        )
    queries = np.sort(np.random.default_rng(args.seed).permutation(queries)[: args.queries])
    pairs = (values[part] for values in (features, pids, cams) for part in (queries, gallery))
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
    rule = next((part.same_camera for part in evaluators if 'same_camera' in part), 'drop')
    ranking = rank_gallery(*pairs, top=args.top, same_camera=rule, unlabeled='keep')
    ranking = ranking[:, : len(gallery)]
    matches = verdicts(ranking, pids[queries], pids[gallery])

    out = args.out or Path(cfg.work_dir, 'ranked.png')
    names = dataset.paths
    for query, places in zip(queries, ranking, strict=True):
        print(f'{names[query]}: {" ".join(names[gallery[places[places >= 0]]])}')
    with atomic_file(out) as path:
        draw_ranked_results(paths[queries], paths[gallery], ranking, matches).save(path)
    print(f'{len(queries)} queries, {summary(matches[:, 0])}: {out}')


if __name__ == '__main__':
    main()
