"""Time and memory of pseudo labels and their correction, against a plain dense implementation.

    python tools/benchmarks/bench_labels.py --sizes 12936x384 32621x768 --correctors GLC MetricConsensus

The features are made up (``synthetic_identities`` in _data.py) and saved for all rows of a size. Every measurement
runs in a fresh process, since a process only knows its peak memory so far. Times are medians of ``--repeats``, after
one run on 2,000 images that loads libraries and compiled kernels. The dense baseline does what the k-reciprocal
encoding's authors wrote, with three N x N matrices and a loop over the images, and runs up to ``--dense-limit`` images.
A corrector corrects the labels of JaccardDBSCAN and gets its view of the features, as in training: its time is what it
adds. ``--growth`` takes several sizes of one D and fits the exponent of N for every stage; of the search of neighbors
only with ``--backend approximate``. ``--plot`` draws it. ``--quality`` scores the labels against the identities.

A set like LUPerson, with features in a float16 file; memory is then all that the process has of its own at its peak,
without pages of files, ten looks a second (Linux):

    OMP_NUM_THREADS=2 python tools/benchmarks/bench_labels.py --sizes 4200000x384 --labelers AdaptiveConsensus \
        --float16 --views 3 60 --quality --recall --dense-limit 0 --repeats 1

On a GPU the features are made and kept there, in float16:

    python tools/benchmarks/bench_labels.py --device cuda --sizes 1000000x384 --labelers JaccardDBSCAN --backend torch \
        --tf32 --dense-limit 0 --repeats 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from glc.core.neighbors import FeatureView

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import device_identities, shift_by_camera, synthetic_identities

Result = TypeVar('Result')

WARM_UP = 2000
PARTS = ('features', 'cameras', 'identities')
SCORES = ('pairwise_f', 'bcubed_f', 'recall')
RECALL_AT = 30
QUERIES = 1000
CAMERA_SHIFT = 0.15


def dense_labels(x: np.ndarray, k1: int = 30, k2: int = 6, eps: float = 0.6) -> np.ndarray:
    """Compute the k-reciprocal Jaccard distance and DBSCAN with dense matrices and a loop."""
    from sklearn.cluster import DBSCAN

    similarity = x @ x.T
    ranks = np.argsort(-similarity, axis=1)[:, :k1]
    half = ranks[:, : round(k1 / 2) + 1]
    encoding = np.zeros_like(similarity)
    for i in range(len(x)):
        own = ranks[i][(ranks[ranks[i]] == i).any(axis=1)]
        members = own
        for j in own:
            others = half[j][(half[half[j]] == j).any(axis=1)]
            if 3 * np.isin(others, own).sum() > 2 * len(others):
                members = np.union1d(members, others)
        weights = np.exp(2 * similarity[i, members] - 2)
        encoding[i, members] = weights / weights.sum()
    encoding = np.stack([encoding[nearest].mean(axis=0) for nearest in ranks[:, :k2]])
    distance = np.empty_like(encoding)
    for i, row in enumerate(encoding):
        columns = np.flatnonzero(row)
        shared = np.minimum(row[columns], encoding[:, columns]).sum(axis=1)
        distance[i] = (1 - shared / (2 - shared)).clip(0)
    return DBSCAN(eps=eps, min_samples=4, metric='precomputed').fit_predict(distance)


def recall(view: FeatureView) -> float:
    """Share of the 30 nearest neighbors of some images, found by comparing them with all, that the view has found.

    Of fewer neighbors where the view looked for fewer.
    """
    import torch

    x = view.centered
    rows = torch.from_numpy(np.random.default_rng(0).choice(len(x), min(QUERIES, len(x)), replace=False))
    found = view.found.indices[rows, : RECALL_AT + 1]
    best = torch.full(found.shape, -torch.inf)
    nearest = torch.zeros(best.shape, dtype=torch.int64)
    for images in torch.arange(len(x)).split(2**16):
        similarities = torch.cat([best, x[rows] @ x[images].T], dim=1)
        everyone = torch.cat([nearest, images.expand(len(rows), -1)], dim=1)
        best, chosen = similarities.topk(best.shape[1], dim=1)
        nearest = everyone.gather(1, chosen)
    return (nearest[:, :, None] == found[:, None, :]).any(dim=2)[:, 1:].float().mean().item()


def run(
    kind: str,
    x: np.ndarray | Tensor,
    cam_ids: Tensor | None,
    backend: str,
    identities: np.ndarray | None,
) -> tuple[dict[str, float], FeatureView | None]:
    """Measure the seconds of the stages of one method, and score its labels where identities are given.

    Returns:
        The figures, and the view of a labeler or corrector.
    """
    import glc.engine  # noqa: F401
    from glc.core.evaluation import label_quality
    from glc.core.labelers import JaccardDBSCAN
    from glc.core.neighbors import FeatureView
    from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS

    start, cpu = time.perf_counter(), time.process_time()

    def total() -> dict[str, float]:
        return {'total': time.perf_counter() - start, 'cpu': time.process_time() - cpu}

    def scores(labels: np.ndarray | Tensor) -> dict[str, float]:
        if identities is None:
            return {}
        quality = label_quality(labels, identities)
        return {name: quality[name] for name in SCORES if name in quality}

    if kind == 'dense':
        dense_labels(np.asarray(x))
        return total(), None
    if kind in PSEUDO_LABELERS.module_dict:
        labeler = PSEUDO_LABELERS.build({'type': kind, 'backend': backend})
        view = FeatureView(x, cam_ids, backend=backend, expected_k=labeler.expected_k)
        labels = labeler(view)
        return {**total(), **labeler.timings_, **scores(labels)}, view
    labeler, corrector = JaccardDBSCAN(), LABEL_CORRECTORS.build({'type': kind})
    view = FeatureView(x, cam_ids, backend=backend, expected_k=max(labeler.expected_k, corrector.expected_k))
    labels = labeler(view)
    start, cpu = time.perf_counter(), time.process_time()
    labels = corrector(view, labels)
    return {**total(), **corrector.timings_, **scores(labels)}, view


def made_up(
    num_images: int, seed: int, args: argparse.Namespace
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, D), cameras and identities (N,)."""
    features, identities = synthetic_identities(num_images, args.dim, seed, tuple(args.views))
    cameras = np.zeros(num_images, int)
    if args.cameras:
        features, cameras = shift_by_camera(features, args.cameras, CAMERA_SHIFT, seed)
    return features.astype(np.float16) if args.float16 else features, cameras, identities


def make(folder: str, num_images: int, args: argparse.Namespace) -> None:
    """Save made-up features, cameras and identities."""
    for part, values in zip(PARTS, made_up(num_images, 0, args), strict=True):
        np.save(f'{folder}/{part}.npy', values)


def load(
    folder: str, num_images: int, args: argparse.Namespace
) -> tuple[np.ndarray | Tensor, Tensor | None, np.ndarray | None]:
    """Features (N, D), cameras and identities (N,) from files, or features and cameras made on a GPU."""
    import torch

    if args.device != 'cpu':
        features, cam_ids = device_identities(num_images, args.dim, 0, args.device)
        return features, cam_ids if args.cameras else None, None
    files = [f'{folder}/{part}.npy' for part in PARTS]
    features = np.load(files[0], mmap_mode='r') if args.float16 else torch.from_numpy(np.load(files[0]))
    cam_ids = torch.from_numpy(np.load(files[1])) if args.cameras else None
    return features, cam_ids, np.load(files[2]) if args.quality else None


def measure(
    kind: str, folder: str, num_images: int, repeats: int, args: argparse.Namespace
) -> dict[str, float]:
    """Measure the median seconds of the stages, scores, and peak memory above the features in GiB."""
    import torch

    torch.set_float32_matmul_precision('high' if args.tf32 else 'highest')
    small, small_cameras, _ = made_up(WARM_UP, 1, args)
    on_device = torch.from_numpy(small).to(args.device), torch.from_numpy(small_cameras)
    run(kind, on_device[0], on_device[1] if args.cameras else None, args.backend, None)
    inputs = load(folder, num_images, args)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with OwnMemory() if args.float16 else nullcontext() as memory:
        runs = []
        for _ in range(repeats):
            view = None  # before the next one is made
            figures, view = run(kind, *inputs[:2], args.backend, inputs[2])
            runs.append(figures)
    result = {stage: statistics.median(times[stage] for times in runs) for stage in runs[0]}
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    result['gib'] = (memory.peak if memory else whole) / 2**20
    if args.recall and view is not None:
        result['recall'] = recall(view)
    if args.device != 'cpu':
        result['device_gib'] = torch.cuda.max_memory_allocated() / 2**30
    return result


class OwnMemory:
    """The most memory in KiB, without pages of files, that this process has while the context lasts."""

    def __enter__(self) -> Self:
        self.peak = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            found = re.search(r'RssAnon:\s+(\d+) kB', Path('/proc/self/status').read_text())
            self.peak = max(self.peak, int(found[1]))


def in_fresh_process(function: Callable[..., Result], *args: Any) -> Result:
    """Call the function in a process of its own."""
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        return pool.apply(function, args)


def row(size: str, kind: str, result: dict[str, float], dense: dict[str, float] | None) -> str:
    """Format a row of the table."""
    stages = ', '.join(
        f'{name} {value:.2f}'
        for name, value in result.items()
        if name not in ('total', 'cpu', 'gib', *SCORES)
    )
    quality = ' / '.join(f'{result[name]:.3f}' for name in SCORES if name in result)
    ratio = f'{dense["total"] / result["total"]:.0f}' if dense and kind == 'JaccardDBSCAN' else '-'
    seconds = f'{result["total"]:.2f} | {result["cpu"]:.2f}'
    return f'| {size} | {kind} | {seconds} | {stages} | {result["gib"]:.2f} | {ratio} | {quality} |'


def exponents(results: dict[tuple[str, int], dict[str, float]], backend: str, plot: str | None) -> None:
    """Print the exponent of N of every stage and draw the times; without the search where it may be exact."""
    left_out = {'cpu', 'gib', 'device_gib', *SCORES} | (
        set() if backend == 'approximate' else {'total', 'knn'}
    )
    lines = {}
    for (kind, num_images), result in results.items():
        for stage, seconds in result.items():
            if kind != 'dense' and stage not in left_out:
                lines.setdefault(f'{kind}: {stage}', []).append((num_images, seconds))
    print('\n| stage | exponent of N |\n|---|---|')
    for stage, points in lines.items():
        sizes, seconds = np.log(np.array(points)).T
        print(f'| {stage} | {np.polyfit(sizes, seconds, 1)[0]:.2f} |')
    if plot:
        import matplotlib

        matplotlib.use('Agg')
        from matplotlib import pyplot

        from glc.utils.files import atomic_file

        for stage, points in lines.items():
            pyplot.loglog(*zip(*points, strict=True), marker='o', label=stage)
        pyplot.xlabel('images')
        pyplot.ylabel('seconds')
        pyplot.legend()
        with atomic_file(plot) as path:
            pyplot.savefig(path, dpi=120)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--sizes', nargs='+', default=['12936x384'], help='images x channels')
    parser.add_argument('--labelers', nargs='*', default=['JaccardDBSCAN', 'MultiScaleConsensus'])
    parser.add_argument('--correctors', nargs='*', default=[], help='on the labels of JaccardDBSCAN')
    parser.add_argument('--dense-limit', type=int, default=13000, help='most images for the dense baseline')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--backend', default='auto', help="labelers' search of neighbors")
    parser.add_argument('--cameras', type=int, default=0, help='cameras that labelers know of; 0: none')
    parser.add_argument('--views', nargs=2, type=int, default=[15, 40], help='fewest and most of an identity')
    parser.add_argument(
        '--float16', action='store_true', help='features in a float16 file, mapped into memory'
    )
    parser.add_argument(
        '--quality', action='store_true', help='score the labels against the identities; not on a GPU'
    )
    parser.add_argument(
        '--recall',
        action='store_true',
        help='share of the 30 nearest neighbors of 1,000 images that a labeler found',
    )
    parser.add_argument('--tf32', action='store_true', help='products with factors of 10 bits, on a GPU')
    parser.add_argument('--growth', action='store_true', help='fit the exponent of N')
    parser.add_argument('--plot', help='file for the picture of --growth')
    args = parser.parse_args()

    import torch

    results: dict[tuple[str, int], dict[str, float]] = {}
    print(f'{torch.get_num_threads()} threads, device {args.device}')
    memory = 'GiB, without files' if args.float16 else 'GiB over the features'
    print(
        f'| images x channels | work | s | processor s | stages, s | {memory} | times faster than dense '
        f'| pairwise F / BCubed F{" / recall@30" if args.recall else ""} |'
    )
    print('|---|---|---|---|---|---|---|---|')
    for size in args.sizes:
        num_images, args.dim = map(int, size.split('x'))
        kinds = ['dense'] * (num_images <= args.dense_limit) + args.labelers + args.correctors
        with tempfile.TemporaryDirectory() as folder:
            if args.device == 'cpu':
                in_fresh_process(make, folder, num_images, args)
            for kind in kinds:
                repeats = 1 if kind == 'dense' else args.repeats
                result = in_fresh_process(measure, kind, folder, num_images, repeats, args)
                results[kind, num_images] = result
                print(row(size, kind, result, results.get(('dense', num_images))), flush=True)
    if args.growth:
        exponents(results, args.backend, args.plot)


if __name__ == '__main__':
    main()
