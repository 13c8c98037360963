"""Time, memory and recall of the k-nearest-neighbor graph.

Recall is the share of the true k nearest neighbors (the image itself not counted) that the graph holds, on a
random sample of images:

    OMP_NUM_THREADS=2 python tools/benchmarks/bench_graph.py --images 100000 --backend approximate

With several searches, the others are compared with the first one:

    OMP_NUM_THREADS=2 python tools/benchmarks/bench_graph.py --images 12936 --k 126 --backend faiss torch --repeats 3

With ``--features F.npz`` (``features``, or ``features_int8`` with ``feature_scale``) on features of your own. On a GPU,
the features are made and kept there, in float16. ``--tf32`` lets it round the factors of the products that find
candidates to 10 bits; the candidates are ordered in float64 either way:

    python tools/benchmarks/bench_graph.py --device cuda --images 1000000 --backend torch --tf32
    python tools/benchmarks/bench_graph.py --device cuda --images 4200000
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import device_identities, isotropic_noise, synthetic_identities

_BASE_ROWS = 2**18


def load(args: argparse.Namespace) -> Tensor:
    """Load unit features, float32 (N, D), on the device."""
    import torch

    from glc.core.labels import as_unit_features

    if args.features is None and args.device != 'cpu':
        return as_unit_features(device_identities(args.images, args.dim, args.seed, args.device)[0])
    return torch.from_numpy(load_array(args)).to(args.device)


def load_array(args: argparse.Namespace) -> np.ndarray:
    """Load unit features, float32 (N, D)."""
    if args.features is None:
        if args.noise:
            return isotropic_noise(args.images, args.dim, args.seed)[0]
        return synthetic_identities(args.images, args.dim, args.seed, args.views)[0]
    from glc.core.labels import as_unit_features

    with np.load(args.features) as file:
        features = file['features'] if 'features' in file else file['features_int8']
        scale = file['feature_scale'][:, None] if 'feature_scale' in file else 1
    return as_unit_features(features * scale).numpy()


def true_neighbors(x: Tensor, queries: Tensor, k: int) -> np.ndarray:
    """Find the k nearest images (Q, k) of the ``queries``, each itself included, by comparison with all."""
    import torch

    best = torch.empty(len(queries), 0, device=x.device)
    found = torch.empty(len(queries), 0, dtype=torch.int64, device=x.device)
    for start in range(0, len(x), _BASE_ROWS):
        similarities, images = (x[queries] @ x[start : start + _BASE_ROWS].T).topk(min(k, len(x) - start))
        best, chosen = torch.cat([best, similarities], dim=1).topk(min(k, best.shape[1] + images.shape[1]))
        found = torch.cat([found, images + start], dim=1).gather(1, chosen)
    return found.cpu().numpy()


def main() -> None:
    """Print a line of figures for each search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--images', type=int, default=30000)
    parser.add_argument('--dim', type=int, default=384)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--noise', action='store_true', help='features without any clusters')
    parser.add_argument('--views', nargs=2, type=int, default=[15, 40], help='fewest and most of an identity')
    parser.add_argument('--features', help='.npz file to take instead of made-up features')
    parser.add_argument('--k', type=int, default=30)
    parser.add_argument(
        '--backend',
        nargs='+',
        default=['approximate'],
        help='searches; the others are compared with the first',
    )
    parser.add_argument(
        '--repeats', type=int, default=1, help='runs of every search, of which the median counts'
    )
    parser.add_argument('--queries', type=int, default=1000, help='images to measure the recall on')
    parser.add_argument('--device', default='cpu', help='for example cuda')
    parser.add_argument('--tf32', action='store_true', help='products with factors of 10 bits, on a GPU')
    args = parser.parse_args()

    import torch

    from glc.core.neighbors.knn import knn_graph

    on_gpu = args.device != 'cpu'
    start = time.perf_counter()
    features = load(args)
    made = time.perf_counter() - start
    queries = torch.from_numpy(np.random.default_rng(1).permutation(len(features))[: args.queries]).to(
        args.device
    )
    true = true_neighbors(features, queries, min(args.k, len(features)))
    baseline = 0.0
    for backend in args.backend:
        knn_graph(features[:5000], args.k, backend)  # loads libraries and compiled loops
        if on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        torch.set_float32_matmul_precision('high' if args.tf32 else 'highest')
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        runs = []
        for _ in range(args.repeats):
            start, cpu = time.perf_counter(), time.process_time()
            graph = knn_graph(features, args.k, backend)
            if on_gpu:
                torch.cuda.synchronize()
            runs.append((time.perf_counter() - start, time.process_time() - cpu))
        wall, cpu = sorted(runs)[len(runs) // 2]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        device_peak = f', {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU' if on_gpu else ''
        torch.set_float32_matmul_precision('highest')
        pairs = zip(true, graph.indices[queries].cpu().numpy(), strict=True)
        recall = np.mean([np.isin(expected[1:], found[1:]).mean() for expected, found in pairs])
        baseline = baseline or wall
        ratio = (
            f'{baseline / wall:.2f} times as fast as {args.backend[0]}, '
            if backend != args.backend[0]
            else ''
        )
        print(
            f'{backend}: {len(features)} images, {torch.get_num_threads()} threads: {wall:.2f} s, {ratio}'
            f'{cpu:.2f} CPU s, recall@{graph.k} {recall:.4f}, peak {peak / 2**20:.2f} GiB '
            f'({before / 2**20:.2f} before){device_peak}; features in {made:.1f} s',
            flush=True,
        )


if __name__ == '__main__':
    main()
