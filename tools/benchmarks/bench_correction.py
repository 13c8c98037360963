"""Time, memory and effect of label correction.

Scores labels against the true identities before and after correction, for the defaults of GLC and, shortened
or in full length, for the published schedule:

    python tools/benchmarks/bench_correction.py --features F.npz --labels L.npz --labels-key eps_0_6

F.npz holds ``pid`` (N,) and ``features`` (N, D), or ``features_int8`` (N, D) with ``feature_scale`` (N,).
L.npz holds labels (N,). Without it JaccardDBSCAN makes them, and GLC gets its view of the features, as in training: the
time of the neighbors that both use is not in the table. Without features, clusters are drawn at random.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if TYPE_CHECKING:
    from glc.core.correctors import GLC
    from glc.core.neighbors import FeatureView

    Data = tuple[FeatureView[np.ndarray], np.ndarray, np.ndarray]


def load(args: argparse.Namespace, correctors: Iterable[GLC]) -> Data:
    """Load features of N images, labels (N,) and true identities (N,)."""
    from glc.core.labelers import JaccardDBSCAN
    from glc.core.neighbors import FeatureView

    if args.features is None:
        features, truth = synthetic_clusters(args.images)
    else:
        with np.load(args.features) as file:
            truth = file['pid'].astype(np.int64)
            if 'features' in file:
                features = file['features']
            else:
                features = file['features_int8'] * file['feature_scale'][:, None]
    labeler = JaccardDBSCAN()
    view = FeatureView(features, expected_k=max(part.expected_k for part in (labeler, *correctors)))
    if args.labels is None:
        return view, labeler(view), truth
    with np.load(args.labels) as file:
        return view, file[args.labels_key].astype(np.int64), truth


def synthetic_clusters(
    num_images: int, dim: int = 384, spread: float = 2.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw identities of 4 to 30 images each, scattered around random centers that lie close to some others."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_images), rng.integers(4, 31, size=num_images))[:num_images]
    look = rng.integers(truth.max() // 8 + 1, size=truth.max() + 1)
    centers = rng.normal(size=(len(look), dim)) + 1.5 * rng.normal(size=(look.max() + 1, dim))[look]
    features = centers[truth] + spread * rng.normal(size=(num_images, dim))
    return features.astype(np.float32), truth


def measure(corrector: GLC, data: Data, threads: int | None) -> tuple[dict[str, float], dict[str, float]]:
    """Correct in this process: scores of the result, and what it cost (memory: MiB above the start)."""
    import torch

    from glc.core.evaluation import label_quality

    if threads:
        torch.set_num_threads(threads)
    view, labels, truth = data
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu_began = time.perf_counter(), time.process_time()
    corrected = corrector(view, labels)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    cost = {'seconds': seconds, 'cpu_seconds': cpu_seconds, 'mebibytes': (peak - start) / 1024}
    return label_quality(corrected, truth), cost


def main() -> None:
    """Print one row for the labels as they are and one per schedule."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--features', help='.npz file; random clusters without it')
    parser.add_argument('--labels', help='.npz file; labels of JaccardDBSCAN without it')
    parser.add_argument('--labels-key', default='labels', help='name of the labels in that file')
    parser.add_argument('--images', type=int, default=5000, help='number of random images')
    parser.add_argument(
        '--published-subgraphs',
        type=int,
        nargs='*',
        default=[],
        help='add the published schedule with so many sub-graphs per epoch (in full: 202)',
    )
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--threads', type=int, help='threads of torch')
    args = parser.parse_args()
    # After --help: these take seconds.
    from tqdm import tqdm

    from glc.core.correctors import GLC
    from glc.core.evaluation import label_quality

    schedules = {'default': GLC(seed=args.seed, progress=tqdm)}
    for count in args.published_subgraphs:
        schedules[f'published, {count}/epoch'] = GLC.published(
            subgraphs_per_epoch=count, seed=args.seed, progress=tqdm
        )
    data = load(args, schedules.values())
    rows = [('labels as given', ' |  |  | ', label_quality(data[1], data[2]))]
    for name, corrector in schedules.items():
        # A fresh process per schedule, since a process only knows its peak memory so far.
        with multiprocessing.get_context('spawn').Pool(1) as pool:
            scores, cost = pool.apply(measure, (corrector, data, args.threads))
        subgraphs = corrector.training.epochs * corrector.training.subgraphs_per_epoch
        spent = f'{cost["seconds"]:.1f} | {cost["cpu_seconds"]:.1f} | {cost["mebibytes"]:.0f}'
        rows.append((name, f'{subgraphs} | {spent}', scores))

    print(f'{len(data[0])} images, {len(np.unique(data[2]))} identities')
    print(
        '| schedule | sub-graphs | s | CPU s | MiB | pairwise P / R / F | BCubed P / R / F | clusters | outliers |'
    )
    print('|---|---|---|---|---|---|---|---|---|')
    for name, spent, scores in rows:
        pairwise, bcubed = (
            ' / '.join(f'{scores[f"{kind}_{part}"]:.3f}' for part in ('precision', 'recall', 'f'))
            for kind in ('pairwise', 'bcubed')
        )
        counts = f'{scores["clusters"]:.0f} | {scores["outliers"]:.0f}'
        print(f'| {name} | {spent} | {pairwise} | {bcubed} | {counts} |')


if __name__ == '__main__':
    main()
