"""Draw clusters before and after their correction: ``python tools/visualization/draw_labels.py WORK_DIR``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glc.cli._common import add_out, new_parser, plain_errors, save_picture

if TYPE_CHECKING:
    import numpy as np

_DESCRIPTION = """Draw clusters before and after their correction side by side, and print what was merged, split,
dropped and kept. From the work dir of a run; or from an .npz file with the arrays "labels" (N,),
"path" (N,) and either "corrected" (N,), or "features" (N, D), whose labels GLC corrects then."""
_EXAMPLES = """
python tools/visualization/draw_labels.py work_dirs/demo_synthetic
python tools/visualization/draw_labels.py work_dirs/demo_synthetic --epoch 3 --kinds split dropped --out split.png
python tools/visualization/draw_labels.py labeled.npz --root data/my_images --out labels.png
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Compare the labels, print what changed, draw it."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('source', type=Path, help='work dir of a run, or .npz file')
    add_out(parser, 'labels_EPOCH.png in the work dir, labels.png beside the .npz')
    parser.add_argument(
        '--epoch', type=int, metavar='N', help='1-based epoch of the run (default: last that was corrected)'
    )
    parser.add_argument(
        '--kinds', nargs='+', metavar='KIND', help='changes that are drawn (default: all but kept)'
    )
    parser.add_argument('--changes', type=int, default=8, metavar='N', help='changes (default: %(default)s)')
    parser.add_argument(
        '--images', type=int, default=8, metavar='N', help='per cluster (default: %(default)s)'
    )
    parser.add_argument(
        '--root', default='', metavar='DIR', help='folder that the paths of the .npz start from'
    )
    args = parser.parse_args(argv)
    with plain_errors(parser):
        from glc.visualization import compare_labels, draw_label_changes
        from glc.visualization.label_changes import KINDS, largest_of_each_kind

        unknown = set(args.kinds or ()) - set(KINDS)
        if unknown:
            raise ValueError(f'--kinds {" ".join(sorted(unknown))}: known are {", ".join(KINDS)}')
        if args.source.is_dir():
            paths, before, after, epoch = _of_run(args.source, args.epoch)
            title, out = f'epoch {epoch}', args.source / f'labels_{epoch}.png'
        else:
            paths, before, after = _of_file(args.source, args.root)
            title, out = args.source.name, args.source.with_name('labels.png')
        changes = compare_labels(before, after)
        print(f'{title}: {before.max() + 1} clusters before the correction, {after.max() + 1} after it')
        for kind, number in Counter(change.kind for change in changes).items():
            images = sum(len(change.images) for change in changes if change.kind == kind)
            print(f'  {kind:10}{number:6}  {images:7} images  ({KINDS[kind]})')
        wanted = args.kinds or [kind for kind in KINDS if kind != 'kept']
        drawn = largest_of_each_kind([change for change in changes if change.kind in wanted], args.changes)
        if not drawn:
            raise ValueError(f'there is nothing to draw: no change is {" or ".join(wanted)}')
        save_picture(draw_label_changes(paths, before, after, drawn, args.images), args.out or out)


def _of_run(work_dir: Path, epoch: int | None) -> 'tuple[list[str], np.ndarray, np.ndarray, int]':
    from glc.apis.run_folder import RunFolder

    run = RunFolder(work_dir)
    stored = run.last_corrected if epoch is None else run.labels(epoch)
    if stored is None or stored.corrected is None:
        raise ValueError(
            f"'{work_dir.resolve()}' has no corrected labels"
            + (f' of epoch {epoch}' if epoch else '')
            + f'; labels were kept of the epochs {", ".join(map(str, run.epochs)) or "none"}'
        )
    return run.files, stored.labels, stored.corrected, stored.epoch


def _of_file(path: Path, root: str) -> 'tuple[list[str], np.ndarray, np.ndarray]':
    import os

    from glc.apis.run_folder import read_arrays

    arrays = read_arrays(path, 'labels', 'path')
    if 'corrected' not in arrays:
        from glc import GLC

        read_arrays(path, 'features')
        print('correcting the labels with GLC()')
        arrays['corrected'] = GLC()(arrays['features'], arrays['labels'])
    return [os.path.join(root, name) for name in arrays['path']], arrays['labels'], arrays['corrected']
