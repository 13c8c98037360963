"""Scores labelers and correctors against the true identities, all pairs of them.

    python tools/benchmarks/bench_label_quality.py --features market=F.npz --published 25 404
    python tools/benchmarks/bench_label_quality.py --synthetic 4000 --labelers --planted 0.05 0.1 0.2 0.4

F.npz holds ``pid`` (N,), ``cam`` (N,), and ``features`` (N, D), or ``features_int8`` (N, D) with ``feature_scale``
(N,); ``tools/analysis_tools/extract_features.py`` writes such a file. Labelers and correctors are named as in a config,
with parameters as in Python: ``JaccardDBSCAN "JaccardDBSCAN(eps=0.5)"``.

Files of several epochs, the earliest first, are joined as ``PseudoLabelHook(history=1)`` does:

    python tools/benchmarks/bench_label_quality.py --features epochs=epoch_1.npz,epoch_2.npz --correctors GLC
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _data import planted_noise, shift_by_camera, synthetic_identities

from glc.utils.files import atomic_file

if TYPE_CHECKING:
    from glc import FeatureView

SUBSETS = {
    'all': lambda size, rank, person: rank < size,
    '3 per person': lambda size, rank, person: rank < 3,
    '4 per person': lambda size, rank, person: rank < 4,
    '6 per person': lambda size, rank, person: rank < 6,
    'half of everybody': lambda size, rank, person: rank < np.maximum(size // 2, 1),
    '2, 5, 12 or all': lambda size, rank, person: rank < np.array([2, 5, 12, 10**6])[person % 4],
    'long tail': lambda size, rank, person: (
        rank < np.random.default_rng(0).zipf(1.6, person.max() + 1)[person]
    ),
    '120 people': lambda size, rank, person: person < 120,
    'half, no cameras': lambda size, rank, person: rank < np.maximum(size // 2, 1),
    '9 of 10 have one image': lambda size, rank, person: rank < np.where(person % 10, 1, 10**6),
    '49 of 50 have one image': lambda size, rank, person: rank < np.where(person % 50, 1, 10**6),
}
KINDS_OF_NOISE = ('merged', 'split', 'outliers')
SCORES = 'pairwise P / R / F | BCubed P / R / F | NMI'
DOCUMENT = """# Label quality

Labels of every labeler, and what every corrector makes of them, scored against the true identities.

- Labels `true` are not a labeler's, but the true identities. Of `true, 10 % merged`, 10 % were joined in pairs
  (`split`: cut into halves; `outliers`: 10 % of the images have no label).
- Scores: `glc.core.evaluation.label_quality`.
- Seconds depend on the machine. Compare them within a table only. All share one view of the features, so what it
  computes (neighbors, consensus) is in the seconds of the first one that needs it.

Written by

```bash
{command}
```
{tables}
"""


class Data(NamedTuple):
    """One input: features (N, D), identities (N,), and cameras (N,) or None."""

    features: np.ndarray
    pids: np.ndarray
    cams: np.ndarray | None


def subset(data: Data, name: str, seed: int = 0) -> Data:
    """Take a part of the data."""
    rng = np.random.default_rng(seed)
    person = np.unique(data.pids, return_inverse=True)[1]
    person = rng.permutation(person.max() + 1)[person]
    order = rng.permutation(len(person))
    order = order[np.argsort(person[order], kind='stable')]
    counts = np.bincount(person)
    rank = np.empty(len(person), np.int64)  # of an image among those of its person
    rank[order] = np.arange(len(person)) - (counts.cumsum() - counts)[person[order]]
    kept = SUBSETS[name](counts[person], rank, person)
    return Data(data.features[kept], data.pids[kept], None if 'no cameras' in name else data.cams[kept])


def load(path: str) -> Data:
    """Read a file of features."""
    with np.load(path) as file:
        features = (
            file['features'] if 'features' in file else file['features_int8'] * file['feature_scale'][:, None]
        )
        return Data(features.astype(np.float32), file['pid'].astype(np.int64), file['cam'].astype(np.int64))


def load_epochs(paths: str) -> Data:
    """Read files of features of the same images, the earliest epoch first, and join them as ``history=1`` does."""
    from glc.core.labels import as_unit_features, with_earlier_features

    first, *others = [load(path) for path in paths.split(',')]
    joined = as_unit_features(first.features)
    for epoch in others:
        joined = with_earlier_features(as_unit_features(epoch.features), joined.half(), 1)
    return first._replace(features=joined.numpy()) if others else first


def make_up(num_images: int, seed: int, dim: int = 256) -> Data:
    """Synthetic features under six cameras, with as much noise again as there is signal: people get mixed up."""
    features, pids = synthetic_identities(num_images, dim, seed)
    features += np.random.default_rng([seed, 1]).normal(scale=dim**-0.5, size=features.shape)
    features, cams = shift_by_camera(features, num_cameras=6, shift=0.15, seed=seed)
    return Data(features, pids, cams)


def attempt(step: Callable[[], np.ndarray]) -> tuple[np.ndarray | None, str]:
    """Labels and seconds of a step, or None and its error."""
    start = time.perf_counter()
    try:
        return step(), f'{time.perf_counter() - start:.1f}'
    except Exception as error:  # a failure must not cost the other rows
        return None, f'{type(error).__name__}: {error}'.replace('|', '\\|').replace('\n', ' ')


def scores(found: dict[str, float]) -> str:
    """Cells of ``SCORES``, then clusters and outliers."""
    triples = (
        ' / '.join(f'{found[f"{kind}_{part}"]:.3f}' for part in ('precision', 'recall', 'f'))
        for kind in ('pairwise', 'bcubed')
    )
    return ' | '.join(
        [*triples, f'{found["nmi"]:.3f}', f'{found["clusters"]:.0f}', f'{found["outliers"]:.0f}']
    )


def table(title: str, columns: str) -> list[str]:
    """Title and head of a table."""
    head = f'| labels | corrector | {columns} |'
    return ['', title, '', head, '|---' * (head.count('|') - 1) + '|']


def score_pairs(
    view: FeatureView[np.ndarray],
    pids: np.ndarray,
    sources: dict[str, Callable[[], np.ndarray]],
    correctors: dict[str, Any],
    summary: list[str],
) -> Iterator[str]:
    """The two tables of one input, line by line; lines of the first come when their labels are there.

    Every labels' line of the summary, pairwise F / BCubed F by corrector, is added to ``summary``.
    """
    from glc.core.evaluation import label_quality

    yield from table(
        'Outliers as clusters of their own:', f'{SCORES} | clusters | outliers | label s | correct s'
    )
    kept = table('Images with a cluster only:', f'{SCORES} | clusters | outliers')
    for labels_name, label in sources.items():
        labels, label_seconds = attempt(label)
        if labels is None:
            yield f'| {labels_name} | | {label_seconds} |'
            continue
        cells = []
        for name, corrector in correctors.items():
            corrected, seconds = attempt(partial(corrector, view, labels))
            row = f'| {labels_name} | {name} |'
            if corrected is None:
                yield f'{row} {seconds} |'
                cells.append('failed')
                continue
            found = label_quality(corrected, pids, 'singletons')
            yield f'{row} {scores(found)} | {label_seconds} | {seconds} |'
            kept.append(f'{row} {scores(label_quality(corrected, pids, "dropped"))} |')
            cells.append(f'{found["pairwise_f"]:.3f} / {found["bcubed_f"]:.3f}')
        summary.append(f'| {labels_name} | {" | ".join(cells)} |')
    yield from kept


def command_line() -> str:
    """The command as typed, without the places of files."""
    words = iter(sys.argv[1:])
    shown = ['python', 'tools/benchmarks/bench_label_quality.py']
    for word in words:
        if word == '--output':
            next(words)
        elif word == '--features':
            name = next(words).partition('=')[0]
            shown += [word, f'{name}={name}.npz']
        else:
            shown.append(word)
    return shlex.join(shown)


def parse_args() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        '--features',
        action='append',
        default=[],
        metavar='NAME=FILE[,FILE...]',
        help='file of features, or of several epochs of one training, the earliest first; may be repeated',
    )
    parser.add_argument(
        '--synthetic', type=int, metavar='N', help='made-up features of N images (without --features: 3000)'
    )
    parser.add_argument('--labelers', nargs='*', metavar='LABELER', help='default: all of them')
    parser.add_argument('--correctors', nargs='*', metavar='CORRECTOR', help='default: all of them')
    parser.add_argument(
        '--published',
        nargs='*',
        type=int,
        default=[],
        metavar='N',
        help='correct with the published GLC on N sub-graphs too (in full: 404)',
    )
    parser.add_argument(
        '--planted',
        nargs='*',
        type=float,
        metavar='SHARE',
        help='take the true identities as labels too, as they are and with each share merged, split or missing',
    )
    parser.add_argument('--subset', choices=list(SUBSETS), default='all', help='part of every file')
    parser.add_argument('--seed', type=int, default=0, help='of made-up features and planted noise')
    parser.add_argument('--output', type=Path, metavar='FILE', help='write a Markdown document too')
    return parser.parse_args()


def main() -> None:
    """Print the tables of every input."""
    args = parse_args()
    # After --help: these take seconds.
    import glc.engine  # noqa: F401 (registers the components)
    from glc import FeatureView
    from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS

    published = [f'GLC.published(subgraphs_per_epoch={count // 2})' for count in args.published]  # two epochs
    chosen = [
        sorted(registry.module_dict) if names is None else names
        for registry, names in ((PSEUDO_LABELERS, args.labelers), (LABEL_CORRECTORS, args.correctors))
    ]
    correctors = {text: LABEL_CORRECTORS.build_text(text) for text in [*chosen[1], *published]}
    labelers = {text: PSEUDO_LABELERS.build_text(text) for text in chosen[0]}
    inputs = {
        name: subset(load_epochs(paths), args.subset)
        for name, _, paths in (item.partition('=') for item in args.features)
    }
    if args.synthetic or not inputs:
        inputs['made-up features'] = make_up(args.synthetic or 3000, args.seed)

    lines = []
    head = f'| labels | {" | ".join(correctors)} |'
    summary = ['', '## Pairwise F / BCubed F by corrector', '', head, '|---' * (len(correctors) + 1) + '|']
    for name, data in inputs.items():
        expected_k = max(part.expected_k for part in chain(labelers.values(), correctors.values()))
        view = FeatureView(data.features, data.cams, expected_k=expected_k)
        sources = {text: partial(labeler, view) for text, labeler in labelers.items()}
        if args.planted is not None:
            sources['true'] = partial(np.copy, data.pids)
        for kind, share in product(KINDS_OF_NOISE, args.planted or []):
            noisy = partial(planted_noise, data.pids, kind, share, args.seed)
            sources[f'true, {100 * share:g} % {kind}'] = noisy
        title = f'{name}: {len(data.pids):,} images, {len(np.unique(data.pids)):,} identities'
        summary.append(f'| **{name}** |{" |" * len(correctors)}')
        for line in chain(['', f'## {title}'], score_pairs(view, data.pids, sources, correctors, summary)):
            lines.append(line)
            print(line, flush=True)
    lines += summary
    print('\n'.join(summary))
    if args.output:
        with atomic_file(args.output) as path:
            path.write_text(DOCUMENT.format(command=command_line(), tables='\n'.join(lines)))


if __name__ == '__main__':
    main()
