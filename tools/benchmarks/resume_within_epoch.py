"""Stop a small training within an epoch by a signal, go on, and compare it with one that was not stopped.

    python tools/benchmarks/resume_within_epoch.py                  # on a CPU: all differences are 0
    python tools/benchmarks/resume_within_epoch.py --device cuda --amp

Training is deterministic (``randomness.deterministic``). The table has the largest difference of the last checkpoints.
"""

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fault_injection import CONFIG, EPOCHS, IMAGES, OPTIONS

STOP = 6  # iterations; an epoch has 4


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='default: %(default)s')
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    return parser.parse_args()


def tensors(content: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a checkpoint by their place."""
    if hasattr(content, 'numel'):
        yield path, content
    items = (
        content.items() if isinstance(content, dict) else enumerate(content if type(content) is list else [])
    )
    for name, value in items:
        yield from tensors(value, f'{path}.{name}'.strip('.'))


def main() -> int:
    """Train twice, and print the table."""
    args = parse_args()
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    import torch

    from glc.checkpoints import load_checkpoint_file
    from glc.cli.train import main as train
    from glc.datasets import SyntheticSpec, make_synthetic
    from glc.engine import SignalHook

    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder, 'images')
        make_synthetic(images, SyntheticSpec(**IMAGES), workers=1)
        places = [f'{loader}_dataloader.dataset.data_root={images}' for loader in ('train', 'val', 'test')]
        options = [
            *OPTIONS,
            *places,
            'randomness.deterministic=True',
            'default_hooks.checkpoint.iterations=None',
        ]

        def run(name: str) -> None:
            amp = ['--amp'] if args.amp else []
            train(
                [str(CONFIG), '--work-dir', f'{folder}/{name}', '--resume', *amp, '--cfg-options', *options]
            )

        def stop(self: SignalHook, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
            if runner.iter + 1 == STOP:
                os.kill(os.getpid(), signal.SIGUSR1)

        run('whole')
        SignalHook.before_train_iter = stop  # type: ignore[method-assign]
        try:
            run('stopped')
        except SystemExit as end:
            print(
                f'stopped with status {end.code}; left: {Path(folder, "stopped/last_checkpoint").read_text()}'
            )
        del SignalHook.before_train_iter
        run('stopped')
        whole, rest = (
            load_checkpoint_file(f'{folder}/{name}/epoch_{EPOCHS}.pth') for name in ('whole', 'stopped')
        )
    where = torch.cuda.get_device_name() if args.device == 'cuda' else 'CPU'
    print(f'\n{where}{", mixed precision" if args.amp else ""}\n')
    print('| part | tensors | largest difference |\n|---|---|---|')
    different = 0.0
    for part in ('state_dict', 'optimizer', 'pseudo_labels'):
        pairs = list(zip(tensors(whole[part]), tensors(rest[part]), strict=True))
        largest = max((float((a.double() - b.double()).abs().max()) for (_, a), (_, b) in pairs), default=0.0)
        different = max(different, largest)
        print(f'| {part} | {len(pairs)} | {largest:.3g} |')
    return int(args.device == 'cpu' and different > 0)


if __name__ == '__main__':
    sys.exit(main())
