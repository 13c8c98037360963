"""Draw ranked results: ``python tools/visualization/draw_ranked.py CONFIG [CHECKPOINT] [options]``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glc.cli._common import (
    add_config_options,
    add_out,
    import_everything,
    new_parser,
    plain_errors,
    save_picture,
)

if TYPE_CHECKING:
    import numpy as np

_DESCRIPTION = """Draw queries beside the gallery images ranked first. Frames are green around the person of the
query, red around another person, and gray where that is unknown."""
_EXAMPLES = """
python tools/visualization/draw_ranked.py configs/glc/demo_synthetic.py work_dirs/demo_synthetic/epoch_10.pth
python tools/visualization/draw_ranked.py CONFIG CHECKPOINT --order worst --rerank --out worst.png
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Extract the features of the test split, rank, draw."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is used',
    )
    add_out(parser, 'WORK_DIR/ranked.png')
    parser.add_argument('--queries', type=int, default=8, metavar='N', help='queries (default: %(default)s)')
    parser.add_argument(
        '--top', type=int, default=10, metavar='K', help='gallery images per query (default: %(default)s)'
    )
    parser.add_argument(
        '--order',
        choices=['random', 'worst', 'best'],
        default='random',
        help='which queries: random ones, or those of the lowest or highest average precision (default: %(default)s)',
    )
    parser.add_argument(
        '--rerank', action='store_true', help='rank by the k-reciprocal distance (Zhong et al. 2017)'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random choice (default: %(default)s)')
    parser.add_argument('--work-dir', help='folder of the picture (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        import_everything()  # after --help: it takes seconds
        from glc.apis import load_config
        from glc.apis.pictures import build_test_set, extract_quietly, rank_test, same_camera_rule
        from glc.visualization import draw_ranked_results

        cfg = load_config(args.config, args.cfg_options, args.work_dir)
        out = args.out or Path(cfg.work_dir, 'ranked.png')
        dataset = build_test_set(cfg)
        rule = same_camera_rule(cfg)
        (features,) = extract_quietly(cfg, args.checkpoint, dataset)
        found = rank_test(features, dataset, rule, args.top, args.rerank)
        chosen = found.ordered(args.order, args.queries, args.seed)
        names, paths = (
            dataset.paths,
            [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))],
        )
        for place in chosen:
            ranked = found.ranking[place]
            score = '' if found.ap[place] != found.ap[place] else f' (AP {100 * found.ap[place]:.1f} %)'
            print(f'{names[found.queries[place]]}{score}: {" ".join(names[ranked[ranked >= 0]])}')
        queries = [paths[row] for row in found.queries[chosen]]
        picture = draw_ranked_results(queries, paths, found.ranking[chosen], found.matches[chosen])
        save_picture(picture, out)
        print(f'{len(chosen)} queries, {summary(found.matches[chosen, 0])}: {out}')


def summary(first: 'np.ndarray') -> str:
    """Say in words how many of the images ranked first are right, of those of which that is known."""
    known = first[first >= 0]
    if not len(known):
        return 'none with a verdict, as identities are unknown'
    of_known = '' if len(known) == len(first) else f' of the {len(known)} with a verdict'
    return f'{known.mean():.0%}{of_known} right at rank 1'
