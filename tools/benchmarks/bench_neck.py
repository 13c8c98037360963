"""Whether the fused feature of a multi neck is better scaled to unit length or left as it is.

The multi neck (:class:`glc.models.necks.ReIDNeck`) joins unit tokens: cls and the mean of the parts, by 'cat' or by
'mean'. ``compare`` scores both features in everything that depends on the scale: labels, and centroids of clusters.
Retrieval does not depend on it, since the evaluation scales features itself; its mAP is shown for both fusions.

    python tools/benchmarks/bench_neck.py make --checkpoint OSNET.pth --root MARKET1501 --people 0 170 --out tokens.npz
    python tools/benchmarks/bench_neck.py compare tokens.npz

A file of tokens holds ``cls`` (N, D) and ``parts`` (N, P, D), both of unit length, ``pids`` (N,) and ``cams`` (N,).
``make`` makes one without a ViT: the tokens are OSNet's last layers on the mean of its last map (cls) and on those of
the upper, middle and lower third of it (parts), batch-normalized over the images and scaled to unit length, as the
tokens in the neck are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.utils.files import atomic_file

EPS = (0.4, 0.5, 0.6, 0.7)
SCALES = ('unit', 'as it is')
FUSIONS = ('cat', 'mean')
_BATCH = 64


def make(checkpoint: str, root: str, split: str, people: range) -> dict[str, np.ndarray]:
    """Make tokens of the images of some people of Market-1501 with OSNet x0.25.

    Args:
        checkpoint: Weights of OSNet x0.25.
        root: Folder of the data set.
        split: 'train', or 'test' for queries and gallery.
        people: Places in the sorted list of identities.

    Returns:
        Arrays of the file of tokens.
    """
    import torch
    import torch.nn.functional as F

    from glc.datasets import Market1501
    from glc.models import ReIDDataPreprocessor
    from glc.models.backbones import OSNet

    pipeline = [
        {'type': 'LoadReIDImage'},
        {'type': 'Resize', 'scale': (128, 256), 'backend': 'pillow', 'interpolation': 'bicubic'},
        {'type': 'PackReIDInputs'},
    ]
    dataset = Market1501(data_root=root, split=split, pipeline=pipeline, check='off')
    identities = np.unique(dataset.pids[dataset.pids > 0])[people.start : people.stop]
    chosen = np.flatnonzero(np.isin(dataset.pids, identities))
    preprocess = ReIDDataPreprocessor(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], channels_last=True
    )
    network = OSNet('x0_25', init_cfg={'type': 'Pretrained', 'checkpoint': checkpoint})
    network.init_weights()
    network.eval().to(memory_format=torch.channels_last)
    maps: list[torch.Tensor] = []
    network.conv5.register_forward_hook(lambda module, inputs, output: maps.append(output))
    tokens = []
    with torch.inference_mode():
        for start in range(0, len(chosen), _BATCH):
            images = [dataset[int(index)]['inputs'] for index in chosen[start : start + _BATCH]]
            whole = network(preprocess({'inputs': images})['inputs'])
            thirds = F.adaptive_avg_pool2d(maps.pop(), (3, 1)).squeeze(3).unbind(2)
            tokens.append(torch.stack([whole, *map(network.fc, thirds)], 1))
    # One batch normalization per token, over all images.
    normed = F.batch_norm(torch.cat(tokens).flatten(1), None, None, training=True)
    normed = F.normalize(normed.unflatten(1, (4, -1)), dim=2)
    return {
        'cls': normed[:, 0].numpy(),
        'parts': normed[:, 1:].numpy(),
        'pids': dataset.pids[chosen],
        'cams': dataset.cam_ids[chosen],
    }


def fused(cls: np.ndarray, parts: np.ndarray, fusion: str) -> np.ndarray:
    """Join tokens as the neck does, without scaling: (N, 2D) or (N, D)."""
    mean = parts.mean(axis=1)
    return np.concatenate([cls, mean], axis=1) if fusion == 'cat' else (cls + mean) / 2


def retrieval(features: np.ndarray, pids: np.ndarray, cams: np.ndarray) -> float:
    """Compute the mAP of one query per person and camera, against all images."""
    from glc.core.evaluation import evaluate_ranking

    _, queries = np.unique(np.stack([pids, cams]), axis=1, return_index=True)
    return evaluate_ranking(features[queries], features, pids[queries], pids, cams[queries], cams)['mAP']


def centroid_accuracy(features: np.ndarray, pids: np.ndarray, seed: int = 0) -> float:
    """Compute the share of images whose nearest centroid is that of their person.

    The centroids are means, scaled to unit length, of a random half of every person's images; the others are compared.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(pids))
    place = np.empty(len(pids), np.int64)
    for pid in np.unique(pids):
        own = order[pids[order] == pid]
        place[own] = np.arange(len(own))
    members = place % 2 == 0
    _, person = np.unique(pids, return_inverse=True)
    sums = np.zeros((person.max() + 1, features.shape[1]))
    np.add.at(sums, person[members], features[members])
    sums /= np.linalg.norm(sums, axis=1, keepdims=True)
    return float(((features[~members] @ sums.T).argmax(1) == person[~members]).mean())


def rows(tokens: dict[str, np.ndarray]) -> Iterator[tuple[str, str, str, int, int, float, float]]:
    """Yield fusion, labeler, scale of the features, clusters, outliers, pairwise F and BCubed F of the labels."""
    from glc.core.clusterers import DBSCANClusterer
    from glc.core.evaluation import label_quality
    from glc.core.labelers import JaccardDBSCAN, MultiScaleConsensus
    from glc.core.neighbors import FeatureView

    for fusion in FUSIONS:
        features = fused(tokens['cls'], tokens['parts'], fusion)
        view = FeatureView(features)
        labelings = {}
        for scale in SCALES:
            distance = JaccardDBSCAN(max(EPS), unit_features=scale == 'unit').distance(view)
            for eps in EPS:
                labelings[f'JaccardDBSCAN, eps {eps}', scale] = DBSCANClusterer(eps, 4)(distance)
        labelings['MultiScaleConsensus', 'unit'] = MultiScaleConsensus()(features, tokens['cams'])
        for (name, scale), labels in labelings.items():
            scores = label_quality(labels, tokens['pids'])
            counts = (int(scores[part]) for part in ('clusters', 'outliers'))
            yield fusion, name, scale, *counts, scores['pairwise_f'], scores['bcubed_f']


def compare(tokens: dict[str, np.ndarray]) -> None:
    """Print the tables of one file."""
    pids, cams = tokens['pids'], tokens['cams']
    print(f'{len(pids):,} images, {len(np.unique(pids))} people, {len(np.unique(cams))} cameras\n')
    print('| fusion | labels | fused feature | clusters | outliers | pairwise F | BCubed F |')
    print('|---|---|---|---|---|---|---|')
    for *words, pairwise, bcubed in rows(tokens):
        print(f'| {" | ".join(map(str, words))} | {pairwise:.3f} | {bcubed:.3f} |', flush=True)
    print('\n| fusion | norms | nearest centroid is right: unit | as it is | mAP |')
    print('|---|---|---|---|---|')
    for fusion in FUSIONS:
        features = fused(tokens['cls'], tokens['parts'], fusion)
        norms = np.linalg.norm(features, axis=1, keepdims=True)
        right = [centroid_accuracy(part, pids) for part in (features / norms, features)]
        spread = np.quantile(norms, [0.05, 0.95])
        print(
            f'| {fusion} | {spread[0]:.2f} to {spread[1]:.2f} | {right[0]:.3f} | {right[1]:.3f} '
            f'| {retrieval(features, pids, cams):.3f} |'
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Make tokens, or compare."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_neck.py compare tokens.npz',
    )
    commands = parser.add_subparsers(dest='command', required=True)
    maker = commands.add_parser(
        'make', help='make a file of tokens from images of Market-1501 and OSNet x0.25'
    )
    maker.add_argument('--checkpoint', required=True, metavar='FILE', help='weights of OSNet x0.25')
    maker.add_argument('--root', required=True, metavar='DIR', help='folder of Market-1501')
    maker.add_argument('--split', default='train', choices=('train', 'test'))
    maker.add_argument('--people', type=int, nargs=2, default=(0, 170), metavar=('FIRST', 'END'))
    maker.add_argument('--out', required=True, type=Path, metavar='FILE.npz')
    comparer = commands.add_parser('compare', help='compare the features of files of tokens')
    comparer.add_argument('tokens', nargs='+', metavar='FILE.npz')
    comparer.add_argument(
        '--halves', action='store_true', help='compare on every other person, then on the others'
    )
    args = parser.parse_args(argv)
    if args.command == 'make':
        tokens = make(args.checkpoint, args.root, args.split, range(*args.people))
        with atomic_file(args.out) as path:
            np.savez_compressed(path, **tokens)
        print(f'{len(tokens["pids"]):,} images: {args.out}')
        return
    for name in args.tokens:
        with np.load(name, allow_pickle=False) as file:
            tokens = {key: file[key] for key in ('cls', 'parts', 'pids', 'cams')}
        people = np.unique(tokens['pids'])
        for part in (people[::2], people[1::2]) if args.halves else (people,):
            chosen = np.isin(tokens['pids'], part)
            print(f'\n{Path(name).name}: ', end='')
            compare({key: values[chosen] for key, values in tokens.items()})


if __name__ == '__main__':
    main()
