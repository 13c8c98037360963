"""kNN purity of the training images: ``python tools/analysis_tools/knn_purity.py CONFIG [CHECKPOINT]``."""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.cli._common import add_config_options


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Print the share of the k nearest neighbors (cosine, without the image itself) that show the same '
        'person, as a mean over the training images of known identity; features under the test pipeline',
        epilog='example: python tools/analysis_tools/knn_purity.py configs/glc/vit_s_market_usl.py',
    )
    parser.add_argument('config', help='config file, of pre-training or of any other training')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is used',
    )
    parser.add_argument('-k', type=int, default=10, help='neighbors per image (default: 10)')
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    return parser.parse_args()


def main() -> None:
    """Load the weights, extract, count."""
    args = parse_args()
    # After --help: these take seconds.
    from glc.apis import load_config, training_features
    from glc.core.evaluation import knn_purity

    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    features, dataset = training_features(cfg, args.checkpoint)
    purity = knn_purity(features, dataset.pids, args.k)
    print(
        f'kNN purity (k = {args.k}) of {len(features):,} images, {features.shape[1]} channels: {purity:.4f}'
    )


if __name__ == '__main__':
    main()
