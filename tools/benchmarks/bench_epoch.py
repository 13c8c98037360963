"""Seconds of an epoch by stage, as a training logs them: extraction, labels, correction, iterations.

    python tools/benchmarks/bench_epoch.py configs/glc/vit_s_market_usl.py --random-weights --amp
    python tools/benchmarks/bench_epoch.py configs/glc/demo_synthetic.py --epochs 2

The first epoch compiles and fills the image cache. The share is that of extraction, labels and correction. A correction
has seconds where an epoch has one. Options after the config go to tools/train.py.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WHOLE = 'seconds/epoch'
STAGES = [f'pseudo_labels/seconds/{stage}' for stage in ('extract', 'label', 'correct')]


def table(scalars: dict[str, dict[int, float]]) -> str:
    """Write the Markdown table of the seconds by epoch."""
    lines = [
        '| epoch | seconds | extract | label | correct | train | share before training |',
        '|---' * 7 + '|',
    ]
    for epoch, whole in scalars[WHOLE].items():
        stages = [scalars.get(name, {}).get(epoch, 0.0) for name in STAGES]
        cells = ' | '.join(f'{seconds:.1f}' for seconds in (whole, *stages, whole - sum(stages)))
        lines.append(f'| {epoch} | {cells} | {100 * sum(stages) / whole:.0f} % |')
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, read the log, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('config')
    parser.add_argument('--epochs', type=int, default=3)
    parser.add_argument('--random-weights', action='store_true', help='do not read weights to start from')
    args, rest = parser.parse_known_args(argv)

    import torch

    from glc.utils.scalars import read_scalars

    options = [f'train_cfg.max_epochs={args.epochs}', f'train_cfg.val_interval={args.epochs + 1}']
    options.append('default_hooks.time_budget.type=TimeBudgetHook')  # logs the seconds of an epoch
    if args.random_weights:
        options.append('model.backbone.init_cfg=None')
    if '--cfg-options' not in rest:
        rest.append('--cfg-options')
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / 'tools/train.py'), args.config, '--work-dir', folder]
        if subprocess.run([*command, *rest, *options], stdout=sys.stderr).returncode:
            raise SystemExit('error: the training failed, see its message above')
        seconds = read_scalars(folder)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    print(f'{device}, {torch.get_num_threads()} threads, torch {torch.__version__}\n\n{table(seconds)}')


if __name__ == '__main__':
    main()
