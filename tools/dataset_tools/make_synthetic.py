"""Draw the synthetic data set: person-like figures in the layout of Market-1501.

Example:
    python tools/dataset_tools/make_synthetic.py --out data/synthetic
"""

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

# Defaults of SyntheticSpec, and what each number is.
NUMBERS = {
    'train_ids': (100, 'people of the training part'),
    'train_images': (20, 'images of each of them'),
    'test_ids': (80, 'other people, in the query and gallery parts'),
    'test_images': (10, 'images of each of them; the first one of a camera is a query'),
    'distractors': (120, 'gallery images of people who are not searched'),
    'junk': (60, 'gallery images that missed the person'),
    'cameras': (6, 'cameras, 2 or more'),
    'spread': (100, 'how much the cameras differ in color and brightness, in percent'),
    'haze': (70, 'how pale the backgrounds are, in percent: the paler, the easier'),
    'outfits': (60, 'color pairs of upper and lower clothes that all people share'),
    'seed': (0, 'other numbers give other images'),
}


def main() -> int:
    """Parse the command line and draw what is not there yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--out', default='data/synthetic', help='folder of the data set (default: %(default)s)'
    )
    parser.add_argument('--workers', type=int, help='processes that draw (default: one per core)')
    for name, (default, text) in NUMBERS.items():
        option = f'--{name.replace("_", "-")}'
        parser.add_argument(
            option, type=int, default=default, metavar='N', help=f'{text} (default: {default})'
        )
    args = parser.parse_args()
    from glc.datasets import SyntheticSpec, make_synthetic  # after --help: it takes seconds

    start = time.perf_counter()
    try:
        spec = SyntheticSpec(**{name: getattr(args, name) for name in NUMBERS})
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
