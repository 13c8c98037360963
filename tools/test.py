"""Evaluate a model: ``python tools/test.py CONFIG [CHECKPOINT] [options]``."""

import argparse
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

from glc.apis import build_runner, load_for_test, prepare_config


def parse_args() -> argparse.Namespace:
    """Command line."""
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
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='overrides of the config'
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def main() -> None:
    """Build the runner, load the weights and test."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        cfg.merge_from_dict(args.cfg_options)
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or str(Path('work_dirs', Path(args.config).stem))
    cfg.load_from, cfg.resume = None, False
    prepare_config(cfg, launcher=args.launcher)
    runner = build_runner(cfg)
    load_for_test(runner, args.checkpoint)
    scores = runner.test()
    if args.out and is_main_process():
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(scores, indent=2) + '\n')


if __name__ == '__main__':
    main()
