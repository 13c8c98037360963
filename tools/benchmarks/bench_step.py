"""One training step - preprocess, forward, loss, memory, backward, optimizer - in float32 and with every option.

    OMP_NUM_THREADS=1 python tools/benchmarks/bench_step.py                     # OSNet x0.25, 64 images
    OMP_NUM_THREADS=1 python tools/benchmarks/bench_step.py --network vit_s --batch 16 --repeats 1
    python tools/benchmarks/bench_step.py --device cuda                         # ViT-S, 256 images of 256 x 128
    python tools/benchmarks/bench_step.py --device cuda --profile --trace t.json    # top kernels, idle share, trace

Every row has one option more than the row before it. Weights are random, images are made up and lie on the CPU in
pinned memory. FLOPs are those of products, convolutions and attention, counted in float32; MFU is their rate as a share
of that of a product of two large matrices in the type of the row, measured here (without TF32). There is no stochastic
depth, so that the losses of the first steps can be compared with those in float32: the largest difference as a share of
the first loss. The last row reads the loss in every step, as the hooks of a training do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import glc.engine  # noqa: F401  registers the parts
from glc.core.labels import PseudoLabels
from glc.registry import MODELS, OPTIM_WRAPPERS
from glc.structures import ReIDDataSample
from tools.benchmarks._device import (
    device_name,
    finish,
    matrix_rate,
    ratio,
    seconds,
    synchronizations,
)

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/_base_/models'
NETWORKS = {'vit_s': 'vit_s_pass', 'vit_b': 'vit_b_pass', 'osnet': 'osnet_x0_25', 'resnet50': 'resnet50'}
OPTIONS = ('bf16', 'channels last', 'fused optimizer', 'compile', 'CUDA graphs')
_CLUSTERS = 700
_CURVE = 5  # steps


class Step:
    """A training step of a new network of a config with options."""

    def __init__(self, network: str, batch: int, device: str, options: Sequence[str]) -> None:
        torch.manual_seed(0)
        cfg = Config.fromfile(CONFIGS / f'{NETWORKS[network]}.py').model
        cfg.backbone.init_cfg = None
        cfg.backbone.pop('drop_path_rate', None)
        cfg.data_preprocessor.channels_last = 'channels last' in options
        self.model = MODELS.build(cfg).to(device).train()
        if 'channels last' in options:
            self.model.to(memory_format=torch.channels_last)
        if 'CUDA graphs' in options:
            self.model.compile(mode='reduce-overhead')
        elif 'compile' in options:
            self.model.compile()
        optimizer = torch.optim.SGD(
            self.model.parameters(), lr=3.5e-4, momentum=0.9, fused='fused optimizer' in options or None
        )
        wrapper = 'BFloat16OptimWrapper' if 'bf16' in options else 'OptimWrapper'
        self.optim_wrapper = OPTIM_WRAPPERS.build({'type': wrapper, 'optimizer': optimizer})
        labels = torch.arange(_CLUSTERS).repeat_interleave(-(-batch // _CLUSTERS) + 1)
        features = torch.randn(len(labels), self.model.neck.out_channels)
        self.model.assign_pseudo_labels(PseudoLabels.from_features(features, labels))
        images = torch.randint(256, (batch, 3, 256, 128), dtype=torch.uint8)
        self.images = images if device == 'cpu' else images.pin_memory()
        indices = torch.randint(len(labels), (batch,)).tolist()
        self.samples = [ReIDDataSample(metainfo={'sample_idx': index}) for index in indices]
        for sample in self.samples[::2]:
            sample.set_metainfo({'erase_box': (40, 20, 60, 50)})

    def __call__(self) -> torch.Tensor:
        """Make a step; return its loss."""
        data = {'inputs': self.images, 'data_samples': self.samples}
        return self.model.train_step(data, self.optim_wrapper)['loss']


def print_profile(step: Callable[[], object], device: str, repeats: int, trace: str | None) -> None:
    """Print the ten operations that take longest, and the share of the time in which a GPU does nothing.

    ``trace`` is a file that chrome://tracing and Perfetto show.
    """
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device != 'cpu')
    with profile(activities=activities) as profiler:
        for _ in range(repeats):
            step()
        finish(device)
    if trace:
        profiler.export_chrome_trace(trace)
    if device == 'cpu':
        print('\n' + profiler.key_averages().table(sort_by='self_cpu_time_total', row_limit=10))
        return
    kernels = sorted(
        (event.time_range.start, event.time_range.end, event.name)
        for event in profiler.events()
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation
    )
    totals: dict[str, list[float]] = {}
    busy, end = 0.0, kernels[0][0]
    for first, last, name in kernels:
        total = totals.setdefault(name, [0, 0.0])
        total[0] += 1
        total[1] += last - first
        busy += max(0.0, last - max(first, end))
        end = max(end, last)
    print('\n| kernel | calls per step | ms per step | share, % |\n|---|---|---|---|')
    for name, (calls, took) in sorted(totals.items(), key=lambda item: -item[1][1])[:10]:
        print(
            f'| `{name[:70]}` | {calls / repeats:.0f} | {took / repeats / 1000:.2f} | {100 * took / busy:.1f} |'
        )
    print(f'\nidle between kernels: {100 * (1 - busy / (end - kernels[0][0])):.1f} %')


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every row, print a table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_step.py --device cuda --profile',
    )
    parser.add_argument('--device', default='cpu', choices=['cpu', 'cuda'])
    parser.add_argument('--network', choices=NETWORKS, help='vit_s on a GPU, else osnet')
    parser.add_argument('--batch', type=int, metavar='B', help='images (256 on a GPU, else 64)')
    parser.add_argument('--repeats', type=int, metavar='N', help='steps per round (10 on a GPU, else 2)')
    parser.add_argument(
        '--options', nargs='*', choices=OPTIONS, help='options to add (all; no CUDA graphs on a CPU)'
    )
    parser.add_argument('--profile', action='store_true', help='profile the last row')
    parser.add_argument('--trace', metavar='FILE', help='write the trace of the profile (.json or .json.gz)')
    args = parser.parse_args(argv)
    on_gpu = args.device != 'cpu'
    network = args.network or ('vit_s' if on_gpu else 'osnet')
    batch = args.batch or (256 if on_gpu else 64)
    repeats = args.repeats or (10 if on_gpu else 2)
    chosen = (OPTIONS if on_gpu else OPTIONS[:-1]) if args.options is None else args.options
    rates = {dtype: matrix_rate(args.device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    with FlopCounterMode(display=False) as counter:
        Step(network, batch, args.device, ())()
    flops = counter.get_total_flops()
    print(f'{device_name(args.device)}; {network}, {batch} images; {flops / 1e9:.0f} GFLOP per step')
    print(', '.join(f'{str(dtype)[6:]} product {rate / 1e12:.3g} TFLOP/s' for dtype, rate in rates.items()))
    print('\n| step | ms | images/s | ratio | TFLOP/s | MFU, % | the CPU waits | loss from float32, % |')
    print('|---|---|---|---|---|---|---|---|')
    baseline, curve = 0.0, torch.empty(0)

    def report(name: str, step: Callable[[], object], loss: str = '') -> None:
        nonlocal baseline
        took = seconds(step, args.device, repeats)
        baseline = baseline or took
        waits = synchronizations(step, args.device)
        rate = rates[torch.bfloat16 if 'bf16' in options else torch.float32]
        print(
            f'| {name} | {1000 * took:.1f} | {batch / took:.0f} | {ratio(baseline, took)} | {flops / took / 1e12:.3g} '
            f'| {100 * flops / took / rate:.0f} | {"-" if waits is None else waits} | {loss} |',
            flush=True,
        )

    for count in range(len(chosen) + 1):
        options = chosen[:count]
        name = f'+ {options[-1]}' if options else 'float32'
        step = Step(network, batch, args.device, options)
        try:
            losses = torch.stack([step().detach() for _ in range(_CURVE)]).cpu()
        except torch._dynamo.exc.TorchDynamoException as error:
            print(f'| {name} | not possible: {str(error).strip().splitlines()[0]} | | | | | | |')
            return
        if not options:
            curve = losses
        report(name, step, f'{100 * float((losses - curve).abs().max() / curve[0]):.2f}')
    report('the same, the loss read in every step', lambda: float(step()))
    if args.profile or args.trace:
        print_profile(step, args.device, 3, args.trace)


if __name__ == '__main__':
    main()
