"""Whether the loss of PASS rises when the last layers begin to move, by the length of their first rows.

The outputs of a head do not depend on the length of the rows of its last layer, but a step of the optimizer turns
shorter rows further. Rows start as those of torch's linear layer (``--rows 1``); earlier releases of this project
started with rows of 0.39 of that length.

    python tools/benchmarks/bench_pass_start.py --cfg-options train_dataloader.dataset.data_root=data/market1501
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.apis import ConfigOptions


def train(config: str, options: dict, rows: float) -> list[float]:
    """Train with first rows of so many times the usual length; return the mean loss of every epoch."""
    import torch
    from mmengine.hooks import Hook

    from glc.apis import build_runner, load_config, prepare_config

    losses: dict[int, list[float]] = {}

    class LossHook(Hook):
        """Keeps the loss of every iteration, by epoch."""

        def after_train_iter(
            self, runner: object, batch_idx: int, data_batch: object = None, outputs: dict | None = None
        ) -> None:
            losses.setdefault(runner.epoch, []).append(float(outputs['loss']))

    with tempfile.TemporaryDirectory() as folder:
        cfg = load_config(config, options, folder)
        cfg.experiment_name = f'rows_{rows}'
        runner = build_runner(prepare_config(cfg))
        with torch.no_grad():
            for head in runner.model.student['heads']:
                head.last_weight *= rows
        runner.register_hook(LossHook())
        runner.train()
    return [float(np.mean(values)) for values in losses.values()]


def main(argv: Sequence[str] | None = None) -> None:
    """Train with each length, print a table."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or '').partition('\n')[0],
        epilog='example: python tools/benchmarks/bench_pass_start.py --epochs 4 --cfg-options '
        'train_dataloader.dataset.data_root=data/market1501',
    )
    parser.add_argument('--config', default='configs/pass/vit_tiny_market_cpu.py', help='config file')
    parser.add_argument('--rows', type=float, nargs='+', default=[1.0, 0.39], metavar='LENGTH')
    parser.add_argument('--epochs', type=int, default=4, metavar='N')
    parser.add_argument(
        '--frozen', type=int, default=1, metavar='N', help='epochs without a step of last layers'
    )
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', default={})
    args = parser.parse_args(argv)
    options = {
        'train_cfg.max_epochs': args.epochs,
        'default_hooks.self_distillation.frozen_epochs': args.frozen,
        **args.cfg_options,
    }
    epochs = range(1, args.epochs + 1)
    print(f'| first rows | {" | ".join(f"loss of epoch {epoch}" for epoch in epochs)} |')
    print(f'|---|{"---|" * args.epochs}')
    for rows in args.rows:
        losses = train(args.config, options, rows)
        print(f'| {rows:g} | {" | ".join(f"{loss:.3f}" for loss in losses)} |', flush=True)


if __name__ == '__main__':
    main()
