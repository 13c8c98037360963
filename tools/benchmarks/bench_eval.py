"""Time of mAP and CMC, against a sort of the gallery for every query.

    OMP_NUM_THREADS=1 python tools/benchmarks/bench_eval.py                 # 3,368 x 15,913, the size of Market-1501
    OMP_NUM_THREADS=1 python tools/benchmarks/bench_eval.py --size msmt17   # 11,659 x 82,161, 4 GB of distances
    python tools/benchmarks/bench_eval.py --size msmt17 --device cuda

The sort is what most public programs do: argsort of the distances of a query, masks of what the protocol ignores,
and the precisions at the matches: in NumPy, one query at a time; on a GPU in PyTorch, in blocks of 512 queries.
Processor time on a CPU, time on the wall on a GPU. The scores of both are compared. The limit of a ranking of given
distances is one pass over them, that of the whole is the product of the features. Features are made up: a center per
person and noise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

SIZES = {'market1501': (3368, 15913, 750, 6), 'msmt17': (11659, 82161, 3060, 15)}
_NOISE = (2.0, 0.5)  # median of the images' noise, against a center of 1; standard deviation of its logarithm


def make(size: str, dim: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Make unit features of queries and gallery, identities and cameras, in the order of ``evaluate_ranking``."""
    num_queries, num_gallery, people, cameras = SIZES[size]
    rng = np.random.default_rng(seed)
    total = num_queries + num_gallery
    pids, cams = rng.integers(people, size=total), rng.integers(cameras, size=total)
    centers = rng.standard_normal((people, dim), dtype=np.float32)
    noise = _NOISE[0] * np.exp(_NOISE[1] * rng.standard_normal((total, 1), dtype=np.float32))
    features = centers[pids] + noise * rng.standard_normal((total, dim), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    parts = (np.split(values, [num_queries]) for values in (features, pids, cams))
    return tuple(part for pair in parts for part in pair)


def sorted_scores(
    distances: np.ndarray, query_pids: np.ndarray, pids: np.ndarray, query_cams: np.ndarray, cams: np.ndarray
) -> tuple[float, float]:
    """Compute mAP and Rank-1 of distances (Q, G) by a sort per query."""
    precisions, first = [], []
    for row, pid, cam in zip(distances, query_pids, query_cams, strict=True):
        order = np.argsort(row)
        same = pids[order] == pid
        hits = np.flatnonzero(same[~(same & (cams[order] == cam))]) + 1
        if len(hits):
            precisions.append(np.mean(np.arange(1, len(hits) + 1) / hits))
            first.append(hits[0] == 1)
    return float(np.mean(precisions)), float(np.mean(first))


def sorted_on_device(
    distances: torch.Tensor,
    query_pids: np.ndarray,
    pids: np.ndarray,
    query_cams: np.ndarray,
    cams: np.ndarray,
) -> tuple[float, float]:
    """Compute what ``sorted_scores`` does, a block of queries at a time where the distances (Q, G) are."""
    import torch

    query_pids, pids, query_cams, cams = (
        torch.from_numpy(ids).to(distances.device) for ids in (query_pids, pids, query_cams, cams)
    )
    precisions, first = [], []
    for rows in torch.arange(len(distances)).split(512):
        block = slice(rows[0], rows[-1] + 1)
        order = distances[block].argsort(1)
        same = pids[order] == query_pids[block, None]
        hits = same & (cams[order] != query_cams[block, None])
        ranks = (~same | hits).cumsum(1)
        found = hits.cumsum(1)
        counted = found[:, -1] > 0
        precision = (hits * found / ranks.clamp(min=1)).sum(1, dtype=torch.float64)
        precisions.append((precision / found[:, -1])[counted])
        first.append((hits & (ranks == 1)).any(1)[counted])
    return float(torch.cat(precisions).mean()), float(torch.cat(first).double().mean())


def seconds(step: Callable[[], object], device: str) -> tuple[float, object]:
    """Measure the time of a step; return its result too."""
    if device == 'cpu':
        start = time.process_time()
        result = step()
        return time.process_time() - start, result

    import torch

    torch.cuda.synchronize()
    start = time.perf_counter()
    result = step()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compare the scores, print a table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_eval.py --size market1501',
    )
    parser.add_argument('--size', default='market1501', choices=SIZES)
    parser.add_argument('--dim', type=int, default=384, metavar='D', help='dimension of the features')
    parser.add_argument('--queries', type=int, metavar='N', help='only the first N queries')
    parser.add_argument('--device', default='cpu')
    args = parser.parse_args(argv)
    measure = partial(seconds, device=args.device)
    # After --help: these take seconds.
    import torch

    from glc.core.evaluation import evaluate_ranking

    query, gallery, query_pids, pids, query_cams, cams = make(args.size, args.dim)
    query, query_pids, query_cams = (part[: args.queries] for part in (query, query_pids, query_cams))
    ids = query_pids, pids, query_cams, cams
    query, gallery = (torch.from_numpy(features).to(args.device) for features in (query, gallery))
    evaluate_ranking(query[:2], gallery[:99], query_pids[:2] * 0, pids[:99] * 0, None, None)  # compile first
    blocks = [slice(start, start + 512) for start in range(0, len(query), 512)]
    distances = torch.cat([-(query[rows] @ gallery.T) for rows in blocks])
    memory = torch.empty(512, len(gallery), device=args.device)
    product, _ = measure(
        lambda: [torch.mm(query[rows], gallery.T, out=memory[: len(query[rows])]) for rows in blocks]
    )
    once, _ = measure(distances.max)
    if args.device == 'cpu':
        plain, expected = measure(lambda: sorted_scores(distances.numpy(), *ids))
    else:
        sorted_on_device(distances[:2], *(part[:2] if len(part) == len(query) else part for part in ids))
        plain, expected = measure(lambda: sorted_on_device(distances, *ids))
    counted, _ = measure(
        lambda: evaluate_ranking(
            query, gallery, *ids, distance=lambda rows: distances[rows.start : rows.stop]
        )
    )
    whole, scores = measure(lambda: evaluate_ranking(query, gallery, *ids))
    found = scores['mAP'], scores['rank1']
    print(
        f'{len(query):,} x {len(gallery):,}, D = {args.dim}, {torch.get_num_threads()} threads, {args.device}'
    )
    print(
        f'mAP {found[0]:.3f}; largest difference of mAP and Rank-1 {np.abs(np.subtract(found, expected)).max():.1e}'
    )
    print(f'product {2 * distances.numel() * args.dim / product / 1e9:.0f} GFLOP/s, ', end='')
    print(f'pass {distances.nbytes / once / 1e9:.1f} GB/s\n')
    print('| seconds | limit | sort per query | `evaluate_ranking` | ratio | largest possible |')
    print('|---|---|---|---|---|---|')
    rows = (
        ('ranking of given distances', once, plain, counted),
        ('the whole', product, plain + product, whole),
    )
    for name, limit, before, after in rows:
        print(
            f'| {name} | {limit:.3f} | {before:.3f} | {after:.3f} | {before / after:.1f} | {before / limit:.1f} |'
        )


if __name__ == '__main__':
    main()
