"""Weak scaling of a training step: every process has the same number of images, whatever the number of processes.

    OMP_NUM_THREADS=1 python tools/benchmarks/bench_scaling.py --processes 1 2        # gloo, one thread per process
    python tools/benchmarks/bench_scaling.py --device cuda --processes 1 2 4 8        # NCCL, one GPU per process
    torchrun --nnodes 2 --nproc_per_node 8 ... tools/benchmarks/bench_scaling.py --device cuda   # on every node

The step is that of bench_step.py with all options but compile. Efficiency is the speed per process, compared with the
first row of the same kind. "gather" is what the memory sends, alone: features and labels of the batch.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.core.memories.base import gather_batches
from tools.benchmarks._device import device_name, finish
from tools.benchmarks.bench_step import NETWORKS, OPTIONS, Step

_SHARED = {'broadcast_buffers': False, 'gradient_as_bucket_view': True}
KINDS = {
    'unused parameters searched': {'find_unused_parameters': True},
    'static graph': {'static_graph': True, **_SHARED},
    'static graph, SyncBN': {'static_graph': True, **_SHARED},
}


def milliseconds(step: Callable[[], object], device: str, repeats: int) -> float:
    """Measure a step of all processes on the clock: the fastest, after two that warm up."""
    times = []
    for _ in range(2 + repeats):
        finish(device)
        dist.barrier()
        start = time.perf_counter()
        step()
        finish(device)
        dist.barrier()
        times.append(1000 * (time.perf_counter() - start))
    return min(times[2:])


def work(args: argparse.Namespace) -> None:
    """Measure on one of the processes; the first prints a line per kind."""
    rank, world, local = (int(os.environ[name]) for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'))
    on_gpu = args.device != 'cpu'
    if on_gpu:
        torch.cuda.set_device(local)
    dist.init_process_group('nccl' if on_gpu else 'gloo')
    for kind, arguments in KINDS.items():
        if 'SyncBN' in kind and not on_gpu:
            continue
        step = Step(args.network, args.batch, args.device, OPTIONS[:-1])
        if 'SyncBN' in kind:
            step.model = nn.SyncBatchNorm.convert_sync_batchnorm(step.model)
        step.model = MMDistributedDataParallel(
            step.model, device_ids=[local] if on_gpu else None, **arguments
        )
        took = milliseconds(step, args.device, args.repeats)
        features = torch.randn(args.batch, step.model.module.neck.out_channels, device=args.device)
        labels = torch.zeros(args.batch, dtype=torch.int64, device=args.device)
        gather = milliseconds(lambda: gather_batches(features, labels), args.device, 20)  # noqa: B023
        if rank == 0:
            print(kind, world, took, gather, sep='\t', flush=True)
    dist.destroy_process_group()


def main(argv: Sequence[str] | None = None) -> None:
    """Start the processes and print a table, or, started by torchrun, be one of them."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_scaling.py --processes 1 2',
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--processes', type=int, nargs='+', default=[1, 2], metavar='N')
    parser.add_argument('--network', default='osnet', choices=NETWORKS)
    parser.add_argument('--batch', type=int, default=64, metavar='B', help='images of a process')
    parser.add_argument('--repeats', type=int, default=3, metavar='N', help='steps that are measured')
    args = parser.parse_args(argv)
    if 'RANK' in os.environ:
        work(args)
        return
    print(f'{device_name(args.device)} per process; {args.network}, {args.batch} images per process\n')
    print('| step | processes | ms | images/s | efficiency, % | gather, ms |')
    print('|---|---|---|---|---|---|')
    first: dict[str, float] = {}
    for processes in args.processes:
        options = [f'--{name}={getattr(args, name)}' for name in ('device', 'network', 'batch', 'repeats')]
        launch = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}', __file__]
        done = subprocess.run([sys.executable, *launch, *options], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f'{processes} processes failed:\n{done.stderr}')
        for line in done.stdout.splitlines():
            kind, _, took, gather = line.split('\t')
            first.setdefault(kind, float(took))
            print(
                f'| {kind} | {processes} | {float(took):.1f} | {1000 * processes * args.batch / float(took):.0f} '
                f'| {100 * first[kind] / float(took):.0f} | {float(gather):.2f} |',
                flush=True,
            )


if __name__ == '__main__':
    main()
