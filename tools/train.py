"""Train a model: ``python tools/train.py CONFIG [options]``."""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


from glc.apis import ConfigOptions, build_runner, load_config, prepare_config
from glc.utils.errors import explain_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a re-identification model')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, without a value from the newest one in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (float16 on a GPU, bfloat16 on a CPU)'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    """Build the runner and train."""
    explain_errors()
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.resume:
        cfg.resume = 'auto' if args.resume == 'auto' else True
        cfg.load_from = cfg.get('load_from') if args.resume == 'auto' else args.resume
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    prepare_config(cfg, launcher=args.launcher, amp=args.amp)
    build_runner(cfg).train()


if __name__ == '__main__':
    main()
