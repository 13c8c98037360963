"""Evaluate a model: ``python tools/test.py CONFIG [CHECKPOINT] [options]``."""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmengine.dist import is_main_process

from glc.apis import ConfigOptions, build_for_test, load_config
from glc.utils.errors import explain_errors
from glc.utils.files import atomic_file


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a re-identification model')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is evaluated',
    )
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write the scores to this JSON file')
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    """Build the runner, load the weights and test."""
    explain_errors()
    args = parse_args()
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    runner = build_for_test(cfg, args.checkpoint, args.launcher, evaluating=True)
    scores = runner.test()
    if args.out and is_main_process():
        with atomic_file(args.out) as path:
            path.write_text(json.dumps(scores, indent=2) + '\n')


if __name__ == '__main__':
    main()
