"""Train a model: ``glc-train CONFIG [options]``."""

import argparse
import os
from collections.abc import Sequence

from glc.apis.options import ConfigOptions
from glc.utils.errors import explain_errors

_EXAMPLES = """examples:
  glc-train vit_s_market_usl                             a config of the package, by its name
  glc-train configs/my/my_images.py --resume             a file; goes on where the training stopped
  glc-train vit_s_market_usl --amp --cfg-options train_cfg.max_epochs=5 train_dataloader.num_workers=8
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Train a re-identification model',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, or the name of a config of the package')
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, without a value from the newest one in the work dir',
    )
    parser.add_argument(
        '--amp', action='store_true', help='mixed precision (bfloat16; float16 on a GPU that lacks it)'
    )
    parser.add_argument('--no-validate', action='store_true', help='do not evaluate during training')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main(argv: Sequence[str] | None = None) -> None:
    """Build the runner and train."""
    args = parse_args(argv)
    explain_errors()
    # After --help: these take seconds.
    from glc.apis import build_runner, load_config, prepare_config

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
