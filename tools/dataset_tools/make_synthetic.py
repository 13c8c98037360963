"""Draw the synthetic data set: person-like figures in the layout of Market-1501.

Example:
    python tools/dataset_tools/make_synthetic.py --out data/synthetic
"""

import argparse
import sys
import time
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.datasets import SyntheticSpec, make_synthetic


def main() -> int:
    """Parse the command line and draw what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out', default='data/synthetic', help='folder of the data set (default: %(default)s)'
    )
    parser.add_argument('--workers', type=int, help='processes that draw (default: one per core)')
    for field in fields(SyntheticSpec):
        option = f'--{field.name.replace("_", "-")}'
        parser.add_argument(option, type=int, default=field.default, help='default: %(default)s')
    args = parser.parse_args()
    start = time.perf_counter()
    try:
        spec = SyntheticSpec(**{field.name: getattr(args, field.name) for field in fields(SyntheticSpec)})
        drawn = make_synthetic(args.out, spec, args.workers)
    except (FileExistsError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if drawn:
        print(f"drew the data set into '{args.out}' in {time.perf_counter() - start:.0f} s")
    else:
        print(f"'{args.out}' already holds this data set: nothing to do")
    return 0


if __name__ == '__main__':
    sys.exit(main())
