"""How well do the neighborhoods of AdaptiveConsensus fit, against the best fixed ones, which know the identities?

    python tools/benchmarks/bench_neighborhoods.py --features market=F.npz other=G.npz
    python tools/benchmarks/bench_neighborhoods.py --features market=F.npz --parts
    python tools/benchmarks/bench_neighborhoods.py --made-up --parts

F.npz as for bench_label_quality.py. Of every file parts are taken, too: few images per person, few people, long tails,
no cameras, most people with a single image. ``--made-up`` adds sets whose images of a person differ in nothing but
noise. A set is labeled with neighborhoods for fixed numbers of images per person, and by the rule. ``--parts`` switches
the parts of the rule off, one at a time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench_label_quality import SUBSETS, Data, load, subset

SIZES = (2.67, 3.27, 4, 4.9, 6, 7.35, 9, 11, 13.5, 16.5, 20.2, 24.8)
MADE_UP = {  # images of every person
    '4 per person': [4] * 600,
    '20 per person': [20] * 150,
    '50 per person': [50] * 80,
    '200 per person': [200] * 20,
    '400 per person': [400] * 12,
    '5 or 200 per person': [5] * 400 + [200] * 10,
    '4 to 24, a third alone': [1] * 1000 + [4 + place % 21 for place in range(142)],
    'long tail': np.minimum(3 / (1 - np.random.default_rng(0).random(400)), 400).astype(int),
}
MADE_UP_SIZES = (*SIZES, 30, 37, 45)
STRANGERS_STAY = 'strangers stay'
NOISE = 0.5  # length of the noise; centers have length 1


def made_up(name: str, dim: int = 128, seed: int = 0) -> tuple[np.ndarray, np.ndarray, None]:
    """Make people whose images differ in nothing but noise, of any direction: (M, D), identities (M,), no cameras."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(MADE_UP[name])), MADE_UP[name])
    centers, noise = (rng.normal(size=(count, dim)) for count in (len(MADE_UP[name]), len(truth)))
    centers, noise = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (centers, noise))
    return centers[truth] + NOISE * noise, truth, None


def rules(parts: bool) -> dict[str, object]:
    """The rule, and without one part of it each."""
    from glc.core.labelers.adaptive import GROWTH

    if not parts:
        return {'rule': GROWTH}
    return {
        'rule': GROWTH,
        'yes or no': replace(GROWTH, no_response=0.475, full_response=0.476),
        'not smoothed': replace(GROWTH, smoothing=0.0),
        'no power': replace(GROWTH, beyond=1.0),
        'whole people grow': replace(GROWTH, few_alone=0.0, many_alone=1e-6),
        'no cameras': replace(GROWTH, across_cameras=1.0),
        'random pieces': replace(GROWTH, few_mixed=1.0),
    }


def score(
    features: np.ndarray,
    truth: np.ndarray,
    cams: np.ndarray | None,
    sizes: tuple[float, ...],
    parts: bool,
) -> dict[str, np.ndarray]:
    """Pairwise F and BCubed F of the best fixed size ('best'), and of the rule and its variants."""
    from glc import FeatureView
    from glc.core.evaluation import label_quality
    from glc.core.labelers.adaptive import consensus, labels_for, scales_for

    sizes = tuple(size for size in sizes if size < len(truth) / 8)
    view = FeatureView(features, cams, expected_k=scales_for(sizes[-1])[0][-1])

    def quality(labels: np.ndarray) -> np.ndarray:
        scores = label_quality(labels, truth)
        return np.array([scores['pairwise_f'], scores['bcubed_f']])

    found = {'best': np.max([quality(labels_for(view, size)) for size in sizes], axis=0)}
    found |= {key: quality(consensus(view, rule=rule).labels) for key, rule in rules(parts).items()}
    if parts:
        found[STRANGERS_STAY] = quality(labels_for(view, consensus(view).sizes[-1]))
    return found


def lines(files: dict[str, Data], names: list[str], made_up_too: bool, parts: bool) -> Iterator[str]:
    """Yield the table, a row for every set."""
    kinds = list(rules(parts)) + [STRANGERS_STAY] * parts
    yield f'| features | images | {" | ".join(kinds)} | best fixed size |'
    yield '|---' * (3 + len(kinds)) + '|'
    below = {kind: [] for kind in kinds}
    sets = [
        (file, name, partial(subset, data, name), SIZES) for file, data in files.items() for name in names
    ]
    if made_up_too:
        sets += [('made up', name, partial(made_up, name), MADE_UP_SIZES) for name in MADE_UP]
    for file, name, make, sizes in sets:
        found = score(*make(), sizes, parts)
        cells = [f'{found["rule"][0]:.3f} / {found["rule"][1]:.3f}']
        for kind in kinds:
            below[kind].append(found[kind] - found['best'])
            if kind != 'rule':
                cells.append('{:+.3f} / {:+.3f}'.format(*(found[kind] - found['rule'])))
        yield f'| {file} | {name} | {" | ".join(cells)} | {found["best"][0]:.3f} / {found["best"][1]:.3f} |'
    for what, take in (('mean', np.mean), ('worst', np.min)):
        cells = ['{:+.3f} / {:+.3f}'.format(*take(below[kind], axis=0)) for kind in kinds]
        yield f'| all | {what} difference from the best | {" | ".join(cells)} | |'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--features', nargs='+', default=[], metavar='NAME=FILE', help='files of features')
    parser.add_argument(
        '--made-up', action='store_true', help='sets of people whose images differ in nothing but noise'
    )
    parser.add_argument(
        '--subsets', nargs='+', choices=list(SUBSETS), default=list(SUBSETS), help='parts of a file'
    )
    parser.add_argument('--parts', action='store_true', help='switch parts of the rule off, one at a time')
    args = parser.parse_args()
    if not args.features and not args.made_up:
        parser.error('give --features, or --made-up')
    return args


def main() -> None:
    """Print the table."""
    args = parse_args()
    files = {name: load(path) for name, path in (item.split('=', 1) for item in args.features)}
    for line in lines(files, args.subsets, args.made_up, args.parts):
        print(line, flush=True)


if __name__ == '__main__':
    main()
