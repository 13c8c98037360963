"""Draw features in two dimensions: ``python tools/visualization/draw_map.py SOURCE``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glc.cli._common import add_config_options, add_out, new_parser, plain_errors, save_picture

if TYPE_CHECKING:
    import numpy as np

_DESCRIPTION = """Draw features in two dimensions, in the colors of clusters, cameras and identities, of what is
known. From the work dir of a run, whose last checkpoint makes the features of the training images;
or from an .npz file with the arrays "features" (N, D) and any of "labels", "cam" and "pid" (N,),
such as extract_features.py writes it."""
_EXAMPLES = """
python tools/visualization/draw_map.py work_dirs/demo_synthetic
python tools/visualization/draw_map.py features.npz --method pca --out map.svg
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Read or extract features, place them, draw."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('source', type=Path, help='work dir of a run, or .npz file')
    add_out(parser, 'map.png in the work dir or beside the .npz')
    parser.add_argument(
        '--method',
        choices=['auto', 'umap', 'tsne', 'pca'],
        default='auto',
        help='umap needs umap-learn; auto: umap where it is installed, else tsne',
    )
    parser.add_argument(
        '--images', type=int, default=3000, metavar='N', help='images, drawn at random (default: %(default)s)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of images and positions (default: %(default)s)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        from glc.visualization import draw_feature_map, embed_features

        if args.source.is_dir():
            from glc.apis.pictures import features_of_run
            from glc.apis.run_folder import RunFolder

            features, groups = features_of_run(
                RunFolder(args.source, args.cfg_options), args.images, args.seed
            )
            out = args.source / 'map.png'
        else:
            features, groups = _of_file(args.source, args.images, args.seed)
            out = args.source.with_name('map.png')
        positions = embed_features(features, args.method, args.seed)
        save_picture(draw_feature_map(positions, groups), args.out or out)


def _of_file(path: Path, images: int, seed: int) -> 'tuple[np.ndarray, dict[str, np.ndarray]]':
    from glc.apis.pictures import known_groups, some_rows
    from glc.apis.run_folder import read_arrays

    arrays = read_arrays(path, 'features')
    rows = some_rows(len(arrays['features']), images, seed)
    names = {'cluster': 'labels', 'camera': 'cam', 'identity': 'pid'}
    groups = known_groups(rows, {name: arrays[key] for name, key in names.items() if key in arrays})
    if not groups:
        raise ValueError(
            f"'{path.resolve()}' has none of the arrays labels, cam and pid with a number from 0 on"
        )
    return arrays['features'][rows], groups
