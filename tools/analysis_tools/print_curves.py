"""Losses and scores of a run by epoch: ``python tools/analysis_tools/print_curves.py WORK_DIR``."""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.utils.scalars import read_records


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Print a Markdown table: losses (means of what was logged in an epoch) and test scores of epochs. '
        'Where a run was resumed, the later log of an epoch counts.',
        epilog='example: python tools/analysis_tools/print_curves.py work_dirs/vit_s_market_usl',
    )
    parser.add_argument('work_dir', type=Path, help='work dir of the run')
    parser.add_argument(
        '--scores', nargs='+', default=['reid/mAP', 'reid/rank1'], metavar='NAME', help='scores to show'
    )
    return parser.parse_args()


def read_epochs(work_dir: Path, scores: list[str]) -> dict[int, dict[str, float]]:
    """Read the losses and scores of every 1-based epoch."""
    epochs: dict[int, dict[str, float]] = {}
    for path in sorted(
        work_dir.glob('*/vis_data/scalars.json')
    ):  # folders are named by the time of their start
        found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for record in read_records(path):
            epoch = record.get('epoch', record['step'])
            for name, value in record.items():
                if name.startswith('loss') or name in scores:
                    found[epoch][name].append(value)
        for epoch, values in found.items():
            epochs.setdefault(epoch, {}).update({name: sum(v) / len(v) for name, v in values.items()})
    return epochs


def curves_table(epochs: dict[int, dict[str, float]], scores: list[str]) -> str:
    """Write the Markdown table of :func:`read_epochs`; the scores stand last."""
    names = sorted(
        {name for values in epochs.values() for name in values}, key=lambda name: (name in scores, name)
    )
    lines = [f'| epoch | {" | ".join(names)} |', '|---' * (len(names) + 1) + '|']
    for epoch, values in sorted(epochs.items()):
        cells = (f'{values[name]:.3f}' if name in values else '' for name in names)
        lines.append(f'| {epoch} | {" | ".join(cells)} |')
    return '\n'.join(lines)


def main() -> None:
    """Read the logs and print the table."""
    args = parse_args()
    epochs = read_epochs(args.work_dir, args.scores)
    if not epochs:
        raise SystemExit(
            f"no losses and no scores below '{args.work_dir}': is it the work dir of a training?"
        )
    print(curves_table(epochs, args.scores))


if __name__ == '__main__':
    main()
