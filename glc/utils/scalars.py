"""What a training has logged, by epoch."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ['pass_over', 'read_records', 'read_scalars']

_PLACES = ('epoch', 'iter', 'step')


def pass_over(path: Path, error: object) -> None:
    """Say that a file, or a line of it, was left out."""
    sys.stderr.write(f"warning: '{path.resolve()}' passed over, it was cut off or changed: {error}\n")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read the lines of a log of scalars; a line that a kill has cut off is left out with a warning."""
    for number, line in enumerate(path.read_text(errors='replace').splitlines(), 1):
        try:
            record = json.loads(line)
            int(record['step'])
        except (KeyError, TypeError, ValueError) as error:
            pass_over(path, f'line {number}: {error}')
        else:
            yield record


def read_scalars(work_dir: str | Path) -> dict[str, dict[int, float]]:
    r"""Read the scalars of a training.

    What was logged several times in an epoch is the mean. Where a run was resumed, the later log of an epoch counts.
    ``seconds/train`` is added: the mean time of an iteration times the iterations of an epoch.

    Args:
        work_dir: Work dir of the run.

    Returns:
        By name, by 1-based epoch in ascending order. Empty where the run has logged nothing.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = Path(folder, '20250101_000000/vis_data/scalars.json')
        ...     log.parent.mkdir(parents=True)
        ...     lines = ['{"loss": 2.0, "epoch": 1, "step": 5}', '{"pseudo_labels/clusters": 7, "step": 0}']
        ...     _ = log.write_text('\n'.join(lines))
        ...     read_scalars(folder)
        {'loss': {1: 2.0}, 'pseudo_labels/clusters': {1: 7.0}}
    """
    result: dict[str, dict[int, float]] = defaultdict(dict)
    iterations: dict[int, int] = {}
    # The folders are named by the time of their start.
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        found: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for record in read_records(path):
            for name, value in record.items():
                # Labels and the seconds of an epoch are logged under the 0-based epoch, scores under the epochs done.
                # Other values without an epoch are times of an evaluation.
                counted_from_0 = name.startswith(('pseudo_labels/', 'seconds/'))
                if name not in _PLACES and ('epoch' in record or '/' in name):
                    epoch = record.get('epoch', record['step'] + counted_from_0)
                    found[name][int(epoch)].append(float(value))
            if 'iter' in record and 'epoch' in record:
                iterations[record['epoch']] = record['iter']
        for name, epochs in found.items():
            result[name] |= {epoch: sum(values) / len(values) for epoch, values in epochs.items()}
    length = max((last / epoch for epoch, last in iterations.items()), default=0.0)
    for epoch in iterations:
        if epoch in result.get('time', {}):
            result['seconds/train'][epoch] = result['time'][epoch] * length
    return {name: dict(sorted(epochs.items())) for name, epochs in result.items()}
