"""Loss and update of the memory banks, against Python loops over the images of a batch.

    OMP_NUM_THREADS=1 python tools/benchmarks/bench_memory.py                  # 256 images, 10,000 clusters
    python tools/benchmarks/bench_memory.py --device cuda
    python tools/benchmarks/bench_memory.py --batch 32 --clusters 200 --repeats 2

The loops do what published programs do: they update a row of the bank with one image after the other; the camera memory
computes its losses per camera and per image; the hybrid memory adds the similarities to all images up to those to
classes. Both compute in float32, and the results are compared. A step is forward, backward and update. The limit is the
two products of features and bank, forward and backward, which every program needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.core.labels import PseudoLabels
from glc.core.memories import BaseMemory, CameraMemory, ClusterMemory, HybridMemory
from tools.benchmarks._device import device_name, ratio, seconds, synchronizations

_IMAGES_PER_CLUSTER = 10
_DRAWN_PER_CLUSTER = 16
_OUTLIERS = 0.1
_CAMERAS = 6


def problem(
    batch: int, clusters: int, dim: int, device: str
) -> tuple[PseudoLabels, tuple[Tensor, Tensor, Tensor]]:
    """Make a labeling, and a batch of it: features, labels and indices, 16 images of each cluster with repetitions."""
    torch.manual_seed(0)
    labels = torch.arange(clusters).repeat_interleave(_IMAGES_PER_CLUSTER)
    labels = torch.cat([labels, torch.full((int(_OUTLIERS * len(labels)),), -1)])
    centers = torch.randn(clusters + 1, dim)
    features = F.normalize(centers[labels] + 0.7 * torch.randn(len(labels), dim))
    cameras = torch.randint(_CAMERAS, labels.shape)
    drawn = torch.randperm(clusters)[: -(-batch // _DRAWN_PER_CLUSTER)].repeat_interleave(_DRAWN_PER_CLUSTER)
    indices = drawn[:batch] * _IMAGES_PER_CLUSTER + torch.randint(_IMAGES_PER_CLUSTER, (batch,))
    views = F.normalize(features[indices] + 0.02 * torch.randn(batch, dim))
    pseudo = PseudoLabels.from_features(features, labels, cameras)
    return pseudo, (views.to(device), labels[indices].to(device), indices.to(device))


def update_in_turn(bank: Tensor, features: Tensor, targets: Tensor, momentum: float) -> None:
    """Update rows of a bank in place, image by image."""
    for feature, target in zip(features, targets.tolist(), strict=True):
        row = momentum * bank[target] + (1 - momentum) * feature
        bank[target] = row / row.norm()


class ClusterLoop:
    """The cluster memory by loops."""

    def __init__(self, memory: ClusterMemory, pseudo: PseudoLabels) -> None:
        self.memory, self.bank = memory, memory.bank.clone()

    def loss(self, features: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        return F.cross_entropy(features @ self.bank.T / self.memory.temperature, labels)

    def update(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Update the bank with a batch."""
        if self.memory.mode == 'mean':
            return update_in_turn(self.bank, features, labels, self.memory.momentum)
        groups: dict[int, list[int]] = {}
        for image, label in enumerate(labels.tolist()):
            groups.setdefault(label, []).append(image)
        for label, images in groups.items():
            similarities = [float(features[image] @ self.bank[label]) for image in images]
            hardest = images[similarities.index(min(similarities))]
            update_in_turn(
                self.bank,
                features[hardest : hardest + 1],
                labels[hardest : hardest + 1],
                self.memory.momentum,
            )
        return None


class CameraLoop:
    """The camera memory by loops."""

    def __init__(self, memory: CameraMemory, pseudo: PseudoLabels) -> None:
        self.memory, self.bank = memory, memory.proxies.clone()
        self.own = memory.image_proxies

    def loss(self, features: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        memory, own = self.memory, self.own[indices]
        similarities = features @ self.bank.T / memory.temperature
        intra = inter = similarities.new_zeros(())
        cameras = memory.proxy_cameras[own]
        for camera in cameras.unique().tolist():
            proxies = (memory.proxy_cameras == camera).nonzero().flatten()
            images = (cameras == camera).nonzero().flatten()
            targets = torch.searchsorted(proxies, own[images])
            intra = intra + F.cross_entropy(similarities[images][:, proxies], targets, reduction='sum')
        for image, proxy in enumerate(own.tolist()):
            same = memory.proxy_clusters == memory.proxy_clusters[proxy]
            positives = similarities[image][same & (memory.proxy_cameras != memory.proxy_cameras[proxy])]
            if len(positives):
                negatives = similarities[image][~same].topk(memory.num_negatives).values
                inter = inter + torch.cat([positives, negatives]).logsumexp(0) - positives.mean()
        return (memory.intra_weight * intra + memory.inter_weight * inter) / len(features)

    def update(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Update the bank with a batch."""
        update_in_turn(self.bank, features, self.own[indices], self.memory.momentum)


class HybridLoop:
    """The hybrid memory by loops, with the similarities to all images."""

    def __init__(self, memory: HybridMemory, pseudo: PseudoLabels) -> None:
        self.memory, self.bank = memory, memory.instances.clone()
        self.sizes = memory.classes.bincount()

    def loss(self, features: Tensor, labels: Tensor, indices: Tensor) -> Tensor:
        """Compute the loss of a batch."""
        similarities = features @ self.bank.T
        sums = similarities.new_zeros(len(features), len(self.sizes))
        logits = sums.index_add(1, self.memory.classes, similarities) / self.sizes
        return F.cross_entropy(logits / self.memory.temperature, self.memory.classes[indices])

    def update(self, features: Tensor, labels: Tensor, indices: Tensor) -> None:
        """Update the bank with a batch."""
        update_in_turn(self.bank, features, indices, self.memory.momentum)


MEMORIES: dict[str, tuple[Callable[[], BaseMemory], type, str]] = {
    'cluster, mean': (lambda: ClusterMemory(mode='mean'), ClusterLoop, 'bank'),
    'cluster, hard': (lambda: ClusterMemory(mode='hard'), ClusterLoop, 'bank'),
    'camera': (CameraMemory, CameraLoop, 'proxies'),
    'hybrid': (HybridMemory, HybridLoop, 'instances'),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, compare the results, print a table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_memory.py --device cuda',
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--batch', type=int, default=256, metavar='B', help='images of a batch')
    parser.add_argument('--clusters', type=int, default=10_000, metavar='C')
    parser.add_argument('--dim', type=int, default=768, metavar='D', help='dimension of the features')
    parser.add_argument('--repeats', type=int, metavar='N', help='steps per round (2; 20 on a GPU)')
    args = parser.parse_args(argv)
    repeats = args.repeats or (2 if args.device == 'cpu' else 20)
    pseudo, batch = problem(args.batch, args.clusters, args.dim, args.device)
    features = batch[0].requires_grad_()
    bank = torch.randn(args.clusters, args.dim, device=args.device)
    logits = torch.empty(args.batch, args.clusters, device=args.device)
    limit = seconds(
        lambda: (torch.mm(features.detach(), bank.T, out=logits), logits @ bank), args.device, repeats
    )
    print(
        f'{device_name(args.device)}; {args.batch} images, {args.clusters:,} clusters of {len(pseudo.labels):,}'
    )
    print(f'images in {_CAMERAS} cameras, D = {args.dim}; ms, forward + backward + update / update alone;')
    print(f'the two products with {args.clusters:,} rows take {1000 * limit:.3f} ms\n')
    print(
        '| memory | loop | ours | ratio | loop, update | ours, update | ratio | the CPU waits | largest difference |'
    )
    print('|---|---|---|---|---|---|---|---|---|')
    for name, (build, loop_type, rows) in MEMORIES.items():
        memory = build().to(args.device)
        memory.reset(pseudo)
        loop = loop_type(memory, pseudo)
        losses = loop.loss(*batch), memory(*batch)
        gradients = [torch.autograd.grad(loss, features)[0] for loss in losses]
        loop.update(features.detach(), *batch[1:])
        memory.update(*batch)
        pairs = [losses, gradients, (loop.bank, getattr(memory, rows))]
        difference = max(float((one - other).detach().abs().max()) for one, other in pairs)

        def step(loss: Callable[..., Tensor], update: Callable[..., None]) -> None:
            loss(*batch).backward()
            features.grad = None
            update(features.detach(), *batch[1:])

        times = []
        for loss, update, count in ((loop.loss, loop.update, 1), (memory, memory.update, repeats)):
            for part in (lambda: step(loss, update), lambda: update(features.detach(), *batch[1:])):  # noqa: B023
                times.append(seconds(part, args.device, count))
        waits = synchronizations(lambda: step(memory, memory.update), args.device)  # noqa: B023
        whole, alone, ours, ours_alone = (1000 * value for value in times)
        print(
            f'| {name} | {whole:.2f} | {ours:.2f} | {ratio(whole, ours)} | {alone:.2f} | {ours_alone:.2f} '
            f'| {ratio(alone, ours_alone)} | {"-" if waits is None else waits} | {difference:.0e} |'
        )


if __name__ == '__main__':
    main()
