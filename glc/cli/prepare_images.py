"""Turn a folder of person crops into a folder to train on and, where identities are known, to test on.

OUT gets links to (or copies of) the images, as PART/PERSON/CAMERA/NUMBER_NAME, and manifest.csv. PART is train, query
or gallery; -1 is an unknown person or camera. No person is in both training and test. Every query has a gallery image
of its person, under another camera where cameras are known.
"""

from collections.abc import Sequence

from glc.cli._common import new_parser
from glc.cli._images import add_naming, fail, naming_pattern

_EXAMPLES = r"""
  python tools/dataset_tools/prepare.py crops data/my_images                     # nothing is known: all for training
  python tools/dataset_tools/prepare.py crops data/my_images --folders pid/cam
  python tools/dataset_tools/prepare.py crops data/my_images --pattern '(?P<pid>[^/_]+)_(?P<cam>[^/_]+)_[^/]+$'
  python tools/dataset_tools/prepare.py crops data/my_images --csv crops.csv --test-share 0.5 --copy
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Split the images and write the folder; return the exit code."""
    parser = new_parser(__doc__, _EXAMPLES)
    parser.add_argument('folder', help='folder with images at any depth')
    parser.add_argument('out', help='folder to make')
    add_naming(parser)
    parser.add_argument(
        '--test-share',
        type=float,
        default=0.2,
        metavar='SHARE',
        help='share of the people, or of the images where nobody is known, kept for the test (default: %(default)s)',
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the choice of people (default: %(default)s)'
    )
    parser.add_argument('--copy', action='store_true', help='copy the images instead of linking to them')
    args = parser.parse_args(argv)

    from glc.datasets.own_images import PREPARED_PATTERN, read_named_images, split_images, write_split
    from glc.utils.files import check_outside

    try:
        check_outside(args.out, args.folder)
        images = read_named_images(args.folder, naming_pattern(args), args.csv)
        pids, cams = [image.pid for image in images], [image.cam for image in images]
        parts = split_images(pids, cams, args.test_share, args.seed)
        write_split(images, parts, args.out, args.copy)
    except (OSError, ValueError) as error:
        return fail(error)
    print(f'{"part":8}  {"images":>8}  {"people":>8}  {"cameras":>8}')
    for part in ('train', 'query', 'gallery'):
        rows = [image for image, own in zip(images, parts, strict=True) if own == part]
        people, cameras = ({values[index] for values in rows} - {''} for index in (1, 2))
        print(f'{part:8}  {len(rows):8,}  {len(people):8,}  {len(cameras):8,}')
    if any(pids) and 'query' not in parts:
        print(
            'No query: nobody has images of two cameras (or two, where cameras are unknown), or --test-share is 0.'
        )
    print('In a config, for the data sets of all loaders (docs/own_data.md):')
    print(f"  dict(data_root={args.out!r}, folders=dict(train='train'), pattern=r'{PREPARED_PATTERN}')")
    return 0
