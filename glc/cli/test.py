"""Evaluate a model: ``glc-test CONFIG [CHECKPOINT] [options]``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import import_everything, new_parser, parse_run
from glc.utils.errors import explain_errors
from glc.utils.files import atomic_file

_EXAMPLES = """
  glc-test vit_s_market_usl work_dirs/vit_s_market_usl/epoch_50.pth
  glc-test vit_s_market_usl published.pth.tar --out scores.json
  glc-test vit_s_market_usl epoch_50.pth --cfg-options test_evaluator.rerank=True
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser('Evaluate a re-identification model', _EXAMPLES)
    parser.add_argument('config', help='config file, or the name of a config of the package')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is evaluated',
    )
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    parser.add_argument(
        '--camera-norm',
        action='store_true',
        help='normalize the test images of every camera by their own statistics (BatchNorm layers): for a network that '
        'was not trained on these cameras',
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write the scores to this JSON file')
    return parse_run(parser, argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Build the runner, load the weights and test."""
    args = parse_args(argv)
    explain_errors()
    # After --help: these take seconds.
    import_everything()
    from mmengine.dist import is_main_process

    from glc.apis import build_for_test, load_config

    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    if args.camera_norm:
        cfg.custom_hooks = [*(cfg.get('custom_hooks') or ()), {'type': 'CameraNormHook'}]
    runner = build_for_test(cfg, args.checkpoint, args.launcher, evaluating=True)
    scores = runner.test()
    if args.out and is_main_process():
        with atomic_file(args.out) as path:
            path.write_text(json.dumps(scores, indent=2) + '\n')


if __name__ == '__main__':
    main()
