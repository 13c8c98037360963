"""Time, memory and recall of the k-nearest-neighbor graph.

Recall is the share of the true k nearest neighbors (the image itself not counted) that the graph holds, on a
random sample of images:

    OMP_NUM_THREADS=2 python tools/benchmarks/bench_graph.py --images 100000 --backend approximate

With ``--features F.npz`` (``features``, or ``features_int8`` with ``feature_scale``) on features of your own.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import isotropic_noise, synthetic_identities

_BASE_ROWS = 2**18


def load(args: argparse.Namespace) -> np.ndarray:
    """Load unit features, float32 (N, D)."""
    from glc.core.labels import as_unit_features

    if args.features is None:
        make = isotropic_noise if args.noise else synthetic_identities
        return make(args.images, args.dim, args.seed)[0]
    with np.load(args.features) as file:
        features = file['features'] if 'features' in file else file['features_int8']
        scale = file['feature_scale'][:, None] if 'feature_scale' in file else 1
    return as_unit_features(features * scale).numpy()


def true_neighbors(features: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Find the k nearest images (Q, k) of the ``queries``, each itself included, by comparison with all."""
    import torch

    x = torch.from_numpy(features)
    best = torch.empty(len(queries), 0)
    found = torch.empty(len(queries), 0, dtype=torch.int64)
    for start in range(0, len(x), _BASE_ROWS):
        similarities, images = (x[queries] @ x[start : start + _BASE_ROWS].T).topk(min(k, len(x) - start))
        best, chosen = torch.cat([best, similarities], dim=1).topk(min(k, best.shape[1] + images.shape[1]))
        found = torch.cat([found, images + start], dim=1).gather(1, chosen)
    return found.numpy()


def main() -> None:
    """Print one line of figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=30000)
    parser.add_argument('--dim', type=int, default=384)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--noise', action='store_true', help='features without any clusters')
    parser.add_argument('--features', help='.npz file to take instead of made-up features')
    parser.add_argument('--k', type=int, default=30)
    parser.add_argument('--backend', default='approximate')
    parser.add_argument('--queries', type=int, default=1000, help='images to measure the recall on')
    args = parser.parse_args()
    # After --help: these take seconds.
    import torch

    from glc.core.neighbors.knn import knn_graph

    features = load(args)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    graph = knn_graph(features, args.k, args.backend)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    queries = np.random.default_rng(1).permutation(len(features))[: args.queries]
    pairs = zip(true_neighbors(features, queries, graph.k), graph.indices[queries], strict=True)
    recall = np.mean([np.isin(true[1:], found[1:]).mean() for true, found in pairs])
    print(
        f'{args.backend}: {len(features)} images, {torch.get_num_threads()} threads: {wall:.1f} s, '
        f'{cpu:.1f} CPU s, recall@{graph.k} {recall:.4f}, peak {peak / 2**20:.2f} GiB '
        f'({before / 2**20:.2f} before)',
        flush=True,
    )


if __name__ == '__main__':
    main()
