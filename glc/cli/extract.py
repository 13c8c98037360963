"""Features of images: ``glc-extract CONFIG WEIGHTS IMAGES --out FILE.npz``."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import add_config_options, import_everything, new_parser, plain_errors

_DESCRIPTION = """Write features (N, D) of images, with identities (N,), cameras (N,) and files (N,): arrays "features",
"pid", "cam" and "path" of an .npz file, and "network", the fingerprint of the weights. A CSV file beside it has a row
for every image. Unknown identities and cameras are -1."""
_EXAMPLES = r"""
  glc-extract osnet_x0_25_msmt2market_uda work_dirs/run/epoch_10.pth crops/ --out features.npz
  glc-extract vit_s_market_usl published.pth.tar 'shots/*.jpg' --out features.npz --flip-test --workers 8
  glc-extract osnet_x0_25_image_folder - crops/ --pattern '(?P<cam>[^/]+)/[^/]+$' --out features.npz
"""


def add_network_options(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the options of an extraction."""
    parser.add_argument(
        '--pattern',
        default='auto',
        metavar='REGEX',
        help='where paths have identity and camera, the named groups pid and cam; "none": nowhere (default: names '
        'like 0002_c1s1_000451_03.jpg, if all are so)',
    )
    parser.add_argument(
        '--camera-norm',
        action='store_true',
        help='normalize the images of every camera by their own statistics in BatchNorm layers',
    )
    parser.add_argument('--flip-test', action='store_true', help='add the features of the mirror images')
    parser.add_argument(
        '--skip-unreadable', action='store_true', help='leave out unreadable images, and name them'
    )
    parser.add_argument(
        '--batch-size', type=int, metavar='N', help='images per batch (default: that of the config)'
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=2,
        metavar='N',
        help='processes that load images (default: %(default)s)',
    )
    parser.add_argument(
        '--amp', action='store_true', help='half precision (float16 on a GPU, bfloat16 on a CPU)'
    )
    parser.add_argument('--device', help='such as cuda:1 or cpu (default: a GPU if there is one)')
    add_config_options(parser)


def call_options(args: argparse.Namespace) -> dict:
    """Return the keywords of an inferencer's call."""
    return {
        'batch_size': args.batch_size,
        'num_workers': args.workers,
        'amp': args.amp,
        'camera_norm': args.camera_norm,
        'pattern': None if args.pattern == 'none' else args.pattern,
        'unreadable': 'skip' if args.skip_unreadable else 'error',
    }


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES, 'glc-extract')
    parser.add_argument('config', help='config file, or the name of a config of the package')
    parser.add_argument(
        'weights',
        help='checkpoint or published weights; "-" takes those that the config starts training from',
    )
    parser.add_argument('images', nargs='+', help='image files, folders, or patterns in quotes')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.npz file')
    add_network_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Load the weights, extract, write."""
    parser = command_line()
    args = parser.parse_args(argv)
    with plain_errors(parser):
        import_everything()  # after --help: it takes seconds
        from glc.apis import ReIDInferencer
        from glc.utils.files import check_place

        check_place(args.out)
        inferencer = ReIDInferencer(
            args.config,
            None if args.weights == '-' else args.weights,
            args.device,
            flip_test=args.flip_test or None,
            options=args.cfg_options,
        )
        features = inferencer(args.images, **call_options(args))
        out = features.save(args.out)
        features.save_table(out.with_suffix('.csv'))
    pids, cameras = (len(set(known.tolist()) - {-1}) for known in (features.pids, features.cam_ids))
    print(
        f'{len(features):,} images, {features.features.shape[1]} channels, {pids:,} identities, {cameras:,} cameras'
    )
    print(f'network {features.network}: {out}, {out.with_suffix(".csv")}')


if __name__ == '__main__':
    main()
