"""Draw augmented training images of a config: ``python tools/visualization/draw_augmentations.py CONFIG``."""

from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import add_config_options, add_out, new_parser, plain_errors, save_picture

_DESCRIPTION = """Draw training images, each beside samples of what the train pipeline of a config makes of it, as the
network sees them: cropped, flipped, erased. Of several crops per image, all are drawn."""
_EXAMPLES = """
python tools/visualization/draw_augmentations.py configs/glc/demo_synthetic.py --out augmented.png
python tools/visualization/draw_augmentations.py CONFIG --images 12 --samples 4 --seed 1
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Build data set and preprocessor, sample, draw."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('config', help='config file')
    add_out(parser, 'WORK_DIR/augmented.png')
    parser.add_argument('--images', type=int, default=6, metavar='N', help='images (default: %(default)s)')
    parser.add_argument('--samples', type=int, default=8, metavar='N', help='of each (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of images and samples (default: %(default)s)')
    parser.add_argument('--work-dir', help='folder of the picture (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        import numpy as np

        from glc.apis import load_config, prepare_config
        from glc.apis.samples import augmented_samples
        from glc.visualization import Row, Tile, draw_image_rows

        cfg = prepare_config(load_config(args.config, args.cfg_options, args.work_dir))
        rows = []
        for path, samples in augmented_samples(cfg, args.images, args.samples, args.seed):
            rows.append(Row(path, [Tile(path), *(Tile(np.ascontiguousarray(sample)) for sample in samples)]))
        save_picture(
            draw_image_rows(rows, (64, 128), 1 + args.samples),
            args.out or Path(cfg.work_dir, 'augmented.png'),
        )
