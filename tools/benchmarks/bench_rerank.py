"""Time and memory of k-reciprocal re-ranking, against the dense matrices of its authors' program.

    python tools/benchmarks/bench_rerank.py --sizes 500+2500 1000+5000 --dim 384

A size is queries + gallery images. The features are made up (``synthetic_identities`` in _data.py). Every
measurement runs in a fresh process, since a process only knows its peak memory so far, after one run on few images that
loads libraries and compiled kernels. Processor seconds count where other work runs beside. The dense baseline
keeps float32 matrices of all images by all images and runs up to ``--dense-limit`` images. The last column compares
the distances of some queries.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import synthetic_identities

WARM_UP = 40, 200
COMPARED = 20  # queries whose distances are compared


def dense_distance(
    query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, lambda_value: float = 0.3
) -> np.ndarray:
    """Compute re-ranked distances (Q, G) with dense matrices and loops over the images."""
    images = np.concatenate([query, gallery])
    original = 2 - 2 * images @ images.T
    original /= original.max(axis=1, keepdims=True)
    ranks = np.argsort(original, axis=1)[:, : k1 + 1]
    half = ranks[:, : round(k1 / 2) + 1]
    encoding = np.zeros_like(original)
    for i in range(len(images)):
        own = ranks[i][(ranks[ranks[i]] == i).any(axis=1)]
        members = own
        for j in own:
            others = half[j][(half[half[j]] == j).any(axis=1)]
            if 3 * np.isin(others, own).sum() > 2 * len(others):
                members = np.union1d(members, others)
        weights = np.exp(-original[i, members])
        encoding[i, members] = weights / weights.sum()
    encoding = np.stack([encoding[nearest].mean(axis=0) for nearest in ranks[:, :k2]])
    distance = np.empty((len(query), len(gallery)), np.float32)
    for i, row in enumerate(encoding[: len(query)]):
        columns = np.flatnonzero(row)
        shared = np.minimum(row[columns], encoding[len(query) :, columns]).sum(axis=1)
        distance[i] = (1 - lambda_value) * (1 - shared / (2 - shared))
    return distance + lambda_value * original[: len(query), len(query) :]


def sparse_distance(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """Compute all distances in blocks, as the evaluation takes them; return those of the compared queries."""
    import torch

    from glc.core.evaluation import KReciprocalReranking
    from glc.core.evaluation.ranking import query_blocks

    queries, others = torch.from_numpy(query), torch.from_numpy(gallery)
    distance = KReciprocalReranking()(queries, others)
    for block in query_blocks(queries, others):
        distance(block)
    return distance(range(min(COMPARED, len(query)))).numpy()


def measure(
    kind: str, num_queries: int, num_gallery: int, dim: int
) -> tuple[float, float, float, np.ndarray]:
    """Measure seconds, those of the processor and peak memory above the features in GiB; return some distances too."""
    features = synthetic_identities(num_queries + num_gallery, dim, 0)[0]
    method = {'dense': dense_distance, 'sparse': sparse_distance}[kind]
    method(features[: WARM_UP[0]], features[-WARM_UP[1] :])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, start_cpu = time.perf_counter(), time.process_time()
    distance = method(features[:num_queries], features[num_queries:])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - start_cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, cpu_seconds, (peak - before) / 2**20, distance[:COMPARED].copy()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', nargs='+', default=['500+2500'], help='queries + gallery images')
    parser.add_argument('--dim', type=int, default=384)
    parser.add_argument('--dense-limit', type=int, default=8000, help='most images for the dense baseline')
    args = parser.parse_args()
    import torch  # after --help: it takes seconds

    print(f'{torch.get_num_threads()} threads, {args.dim} channels')
    print('| queries + gallery | work | s | CPU s | GiB over the features | largest difference |')
    print('|---|---|---|---|---|---|')
    for size in args.sizes:
        numbers = [int(number) for number in size.split('+')]
        kinds = ['sparse'] + ['dense'] * (sum(numbers) <= args.dense_limit)
        distances = []
        for kind in kinds:
            with ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
                task = pool.submit(measure, kind, *numbers, args.dim)
            seconds, cpu_seconds, gib, distance = task.result()
            distances.append(distance)
            difference = f'{np.abs(distance - distances[0]).max():.1e}' if kind == 'dense' else '-'
            row = [size, kind, f'{seconds:.2f}', f'{cpu_seconds:.2f}', f'{gib:.2f}', difference]
            print(f'| {" | ".join(row)} |', flush=True)


if __name__ == '__main__':
    main()
