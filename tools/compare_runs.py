"""Say where two runs differ first.

    python tools/compare_runs.py work_dirs/one work_dirs/other

Compared are, of two work dirs: the settings of the config, but for those that name places; command, seed, processes,
device, versions and training set of every start; then, epoch by epoch, the labels that were trained on, the logged
losses, and the weights of the checkpoints that both have. The last line names the first difference. What only one run
has is not compared, and a line says so. The exit status is 0 where nothing differs, 1 where something does.

Losses are means over the iterations between two lines of the log. Such a mean begins anew where a run is resumed, so
the first losses after that may differ in runs that are equal otherwise.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from glc.utils.scalars import read_records

if TYPE_CHECKING:
    from glc.apis.run_folder import RunFolder

PLACES = re.compile(r'(work_dir|experiment_name|resume|visualizer|vis_backends|log_level)(\.|$)')
PARTS = ('settings', 'seed', 'processes', 'device', 'versions', 'training_set', 'command')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('runs', nargs=2, type=Path, metavar='WORK_DIR', help='work dir of a training')
    return parser.parse_args()


def settings(run: RunFolder) -> dict[str, Any]:
    """Read the config without running it."""
    from glc.engine.stored_config import parse_config

    return parse_config(run.config_file.read_text()) if run.config_file else {}


def starts(run: RunFolder) -> dict[str, list[Any]]:
    """Read what the starts of a run were made of: the different values of every part."""
    from glc.engine.hooks.run_record_hook import RECORD

    found: dict[str, list[Any]] = {}
    for path in sorted(run.work_dir.glob(f'*/{RECORD}')):
        for part, value in json.loads(path.read_text()).items():
            values = found.setdefault(part, [])
            values += [value] if value not in values else []
    return found


def losses(run: RunFolder) -> dict[tuple[int, int], dict[str, float]]:
    """Read the losses by epoch and iteration; a later log of an iteration counts."""
    found = {}
    for path in sorted(run.work_dir.glob('*/vis_data/scalars.json')):
        for record in read_records(path):
            values = {name: value for name, value in record.items() if name.startswith('loss')}
            if values and 'epoch' in record:
                found[record['epoch'], record['step']] = values
    return found


def different_labels(one: RunFolder, other: RunFolder, epoch: int) -> str | None:
    """Compare the labels of an epoch."""
    first, second = (run.labels(epoch).final for run in (one, other))
    if len(first) != len(second):
        return f'{len(first):,} and {len(second):,} images'
    count = int((first != second).sum())
    numbers = ' and '.join(f'{labels.max(initial=-1) + 1:,}' for labels in (first, second))
    return f'{count:,} of {len(first):,} images ({numbers} clusters)' if count else None


def different_weights(one: Path, other: Path) -> str | None:
    """Compare the weights of two checkpoints."""
    import torch

    from glc.checkpoints import load_checkpoint_file

    first, second = (load_checkpoint_file(path)['state_dict'] for path in (one, other))
    if first.keys() != second.keys():
        return f'only one has {", ".join(sorted(first.keys() ^ second.keys())[:3])}'
    names = [name for name, value in first.items() if not torch.equal(value, second[name])]
    if not names:
        return None
    name = names[0]
    if first[name].shape != second[name].shape:
        return f'{name} has the shapes {tuple(first[name].shape)} and {tuple(second[name].shape)}'
    most = (first[name].double() - second[name].double()).abs().max().item()
    return f'{len(names)} of {len(first)} tensors, the first is {name}, by up to {most:.3g}'


def by_epoch(one: RunFolder, other: RunFolder) -> Iterator[tuple[int, str, str | None]]:
    """Compare epoch by epoch; yield the 1-based epoch, what was compared, and how it differs."""
    from glc.engine.work_dir import checkpoints_in

    first, second = losses(one), losses(other)
    files = [checkpoints_in(run.work_dir, 'epoch_{}.pth') for run in (one, other)]
    labeled = set(one.epochs) & set(other.epochs)
    logged = sorted(first.keys() & second.keys())
    saved = files[0].keys() & files[1].keys()
    for epoch in sorted(labeled | {epoch for epoch, _ in logged} | saved):
        if epoch in labeled:
            yield epoch, 'labels', different_labels(one, other, epoch)
        for place in logged:
            if place[0] == epoch:
                same = first[place] == second[place]
                pair = f'{first[place]} and {second[place]} at iteration {place[1]}'
                yield epoch, 'losses', None if same else pair
        if epoch in saved:
            yield epoch, 'weights', different_weights(files[0][epoch], files[1][epoch])


def compare(one: RunFolder, other: RunFolder) -> Iterator[tuple[str, str | None]]:
    """Compare two runs in the order in which things happen; yield what was compared, and how it differs."""
    from glc.engine.stored_config import differences

    changes = differences(settings(one), settings(other), PLACES)
    for key, first, second in changes:
        yield f'setting {key}', f'{first!r} and {second!r}'
    if not changes:
        yield 'settings', None
    records = starts(one), starts(other)
    for part in PARTS[1:]:
        first, second = (record.get(part) for record in records)
        if first is not None and second is not None:
            yield part, None if first == second else f'{first} and {second}'
    for epoch, part, how in by_epoch(one, other):
        yield f'{part} of epoch {epoch}', how


def main() -> int:
    """Print what differs, and what is equal."""
    runs = parse_args().runs
    from glc.apis.run_folder import RunFolder  # after --help: it loads torch

    one, other = map(RunFolder, runs)
    equal, first = dict.fromkeys(('settings', *PARTS[1:], 'labels', 'losses', 'weights'), 0), None
    told = set[str]()
    for what, how in compare(one, other):
        part = what.split()[0]
        if how is None:
            equal[part] = equal.get(part, 0) + 1
            continue
        first = first if first or part == 'command' else what
        if part == 'setting' or part not in told:
            print(f'{what}: {how}')
        told.add(part)
    print('equal: ' + ', '.join(f'{part} ({count})' for part, count in equal.items() if count))
    missing = [part for part, count in equal.items() if not count and part not in told | {'settings'}]
    if missing:
        print(f'not compared, as one run or both lack them: {", ".join(missing)}')
    print(f'first difference: {first}' if first else 'no difference')
    return 1 if first else 0


if __name__ == '__main__':
    sys.exit(main())
