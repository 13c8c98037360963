"""Features of the training images: ``python tools/analysis_tools/extract_features.py CONFIG --out F.npz``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.cli._common import add_config_options
from glc.utils.files import atomic_file


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write unit features (N, D) of the training images, under the test pipeline, with their '
        'identities (N,), cameras (N,) and files (N,), relative to the folder of the data set: arrays "features", '
        '"pid", "cam" and "path"',
        epilog='example: python tools/analysis_tools/extract_features.py configs/glc/vit_s_market_usl.py '
        'work_dirs/vit_s_market_usl/epoch_50.pth --out features.npz',
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is used',
    )
    parser.add_argument(
        '--camera-norm',
        action='store_true',
        help='normalize the images of every camera by their own statistics in BatchNorm layers',
    )
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='.npz file')
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Load the weights, extract, write."""
    args = parse_args()
    # After --help: these take seconds.
    import numpy as np

    from glc.apis import load_config, training_features

    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    features, dataset = training_features(cfg, args.checkpoint, args.camera_norm)
    out = args.out if args.out.suffix == '.npz' else Path(f'{args.out}.npz')
    with atomic_file(out) as path:
        np.savez(
            path, features=features.cpu().numpy(), pid=dataset.pids, cam=dataset.cam_ids, path=dataset.paths
        )
    print(f'{features.shape[0]} images, {features.shape[1]} channels: {out}')


if __name__ == '__main__':
    main()
