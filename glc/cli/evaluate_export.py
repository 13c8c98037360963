"""Evaluate exported files on the test set of a config, beside the network that they come from."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glc.cli._common import add_config_options, new_parser, plain_errors

if TYPE_CHECKING:
    from glc.deployment.exported import ExportedReID

_EXAMPLES = """
  python tools/deployment/evaluate_export.py CONFIG CHECKPOINT reid.onnx reid_int8.onnx
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table: the scores of the network, and those of every file."""
    parser = new_parser(__doc__, _EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint', help="checkpoint of the network; '-' takes the network that training would start from"
    )
    parser.add_argument(
        'files', nargs='+', type=Path, metavar='FILE', help='files of tools/deployment/export.py'
    )
    parser.add_argument('--out', type=Path, metavar='FILE', help='also write the table to this CSV file')
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        _evaluate(args)
    return 0


def _evaluate(args: argparse.Namespace) -> None:
    from glc.apis import build_for_test, load_config
    from glc.deployment.exported import ExportedNetwork, ExportedReID
    from glc.utils.files import write_csv

    networks = {str(path): ExportedReID(ExportedNetwork(path)) for path in args.files}
    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    runner = build_for_test(cfg, None if args.checkpoint == '-' else args.checkpoint, evaluating=True)
    scores = {'network': runner.test()}
    for name, network in networks.items():
        runner.model = network
        scores[name] = runner.test_loop.run()

    shown = [name for name in scores['network'] if name.endswith(('mAP', 'rank1'))]
    table = [['', 'dtype', 'MB', *shown, *(f'loss of {name}' for name in shown)]]
    for name, row in scores.items():
        values = [row[score] for score in shown]
        losses = [round(scores['network'][score] - row[score], 2) + 0.0 for score in shown]  # no -0.00
        kind = ['float32', ''] if name == 'network' else _kind(networks[name], name)
        table.append([name, *kind, *(f'{value:.2f}' for value in (*values, *losses))])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        print('  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if args.out:
        write_csv(args.out, table)


def _kind(network: 'ExportedReID', name: str) -> list[str]:
    return [network.network.metadata['dtype'], f'{Path(name).stat().st_size / 1e6:.1f}']
