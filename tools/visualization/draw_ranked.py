"""Draw ranked results: ``python tools/visualization/draw_ranked.py CONFIG [CHECKPOINT] [options]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np

from glc.apis import ConfigOptions, build_for_test, load_config
from glc.engine import FeatureExtractor
from glc.registry import DATASETS
from glc.visualization import draw_ranked_results


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Draw queries beside the gallery images ranked first (green: same person, red: another)'
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
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )
    return parser.parse_args()


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
    queries = np.sort(np.random.default_rng(args.seed).permutation(queries)[: args.queries])
    similarities = (features[queries] @ features[gallery].T).cpu().numpy()
    same_person = pids[queries, None] == pids[gallery]
    same_shot = same_person & (cams[queries, None] == cams[gallery])  # ignored by the protocol
    similarities[same_shot] = -np.inf
    ranking = np.argsort(-similarities, axis=1, kind='stable')[:, : args.top]
    matches = np.take_along_axis(same_person, ranking, axis=1)
    ranking[np.isneginf(np.take_along_axis(similarities, ranking, axis=1))] = -1

    out = args.out or Path(cfg.work_dir, 'ranked.png')
    out.parent.mkdir(parents=True, exist_ok=True)
    draw_ranked_results(paths[queries], paths[gallery], ranking, matches).save(out)
    print(f'{len(queries)} queries, {matches[:, 0].mean():.0%} right at rank 1: {out}')


if __name__ == '__main__':
    main()
