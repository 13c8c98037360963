"""Let one of several processes die, raise an error or hang in every stage of a training; the others have to end too.

    python tools/benchmarks/distributed_faults.py
    python tools/benchmarks/distributed_faults.py --processes 4 --stages label train

Processes are forked, as in ``fault_injection.py``, without a launcher that would end them. The time is from the fault
until the last of them has ended. One that hangs is noticed after ``env_cfg.stall_timeout``, here 10 s without work. The
exit status is 1 where a process did not end within a minute, ended well, or an error of it is not in the log.
"""

import argparse
import importlib
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fault_injection import prepared, start

# Where a stage is, and on which process it fails; correction and saving are work of the first one.
STAGES = {
    'extract': ('glc.engine.feature_extractor:FeatureExtractor', '__call__', 1),
    'label': ('glc.core.labelers:BaseLabeler', '__call__', 1),
    'correct': ('glc.engine.labeling:LabelEngine', '_complete', 0),
    'train': ('glc.models:UnsupervisedReID', 'loss', 1),
    'save': ('glc.engine.runner:ReIDRunner', 'save_checkpoint', 0),
    'evaluate': ('glc.evaluation:ReIDMetric', 'process', 1),
    'score': ('glc.evaluation:ReIDMetric', 'compute_metrics', 0),
}
FAULTS = ('dies', 'raises', 'hangs')
BATCH = 16
OPTIONS = ('env_cfg.stall_timeout=10', 'default_hooks.checkpoint.iterations=None')
LIMIT = 60


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--stages', nargs='+', choices=STAGES, default=list(STAGES), help='default: all')
    parser.add_argument('--processes', type=int, choices=(2, 4), default=2, help='default: %(default)s')
    parser.add_argument(
        '--work-dir', type=Path, default=Path('work_dirs/distributed_faults'), help='default: %(default)s'
    )
    return parser.parse_args()


def put_in(stage: str, fault: str, mark: Path) -> Callable[[int], None]:
    """Return what puts a fault into a process; it leaves a mark when it happens."""
    place, name, victim = STAGES[stage]
    module, _, owner = place.partition(':')

    def faulty(*args: Any, **kwargs: Any) -> None:
        mark.touch()
        if fault == 'dies':
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == 'raises':
            raise ZeroDivisionError(f'made in {stage}')
        threading.Event().wait()

    def prepare(rank: int) -> None:
        if rank == victim:
            setattr(getattr(importlib.import_module(module), owner), name, faulty)

    return prepare


def main() -> int:
    """Try all faults, and print the table."""
    args = parse_args()
    work = prepared(args.work_dir)
    options, good = (*OPTIONS, f'model.bn_group_size={BATCH // args.processes}'), True
    print('| stage | fault of one process | ended after | exit codes |\n|---|---|---|---|', flush=True)
    for stage in args.stages:
        for fault in FAULTS:
            folder, mark = work / f'{stage}_{fault}', work / f'{stage}_{fault}.mark'
            shutil.rmtree(folder, ignore_errors=True)
            for left in (mark, folder.with_suffix('.log')):
                left.unlink(missing_ok=True)
            running = start(work, folder, args.processes, options, put_in(stage, fault, mark))
            while not mark.exists() and any(process.is_alive() for process in running):
                time.sleep(0.05)
            begin = time.monotonic()
            for process in running:
                process.join(max(0.0, begin + LIMIT - time.monotonic()))
            seconds = time.monotonic() - begin
            codes = [process.exitcode for process in running]
            for process in running:
                if process.is_alive():
                    process.kill()
            told = fault != 'raises' or f'made in {stage}' in folder.with_suffix('.log').read_text()
            ended = mark.exists() and all(codes) and told
            good = good and ended
            print(f'| {stage} | {fault} | {seconds:.0f} s | {codes} |{"" if ended else " WRONG"}', flush=True)
    return int(not good)


if __name__ == '__main__':
    sys.exit(main())
