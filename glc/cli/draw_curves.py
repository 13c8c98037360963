"""Draw the curves of a run: ``python tools/visualization/draw_curves.py WORK_DIR``."""

from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import add_out, new_parser, plain_errors, save_picture

_DESCRIPTION = """Draw the curves of a run by epoch: loss, test scores, clusters and outliers, scores of the labels
before and after correction where identities are known, and seconds per stage. The run may be going
on."""
_EXAMPLES = """
python tools/visualization/draw_curves.py work_dirs/demo_synthetic
python tools/visualization/draw_curves.py work_dirs/demo_synthetic --out curves.svg
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the log of scalars and draw it."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('work_dir', type=Path, help='work dir of the run')
    add_out(parser, 'WORK_DIR/curves.png')
    args = parser.parse_args(argv)
    with plain_errors(parser):
        from glc.utils.scalars import read_scalars
        from glc.visualization import draw_curves

        try:
            figure = draw_curves(read_scalars(args.work_dir))
        except ValueError as error:
            raise ValueError(
                f"no curves below '{args.work_dir.resolve()}': {error}; is it the work dir of a training?"
            ) from None
        save_picture(figure, args.out or args.work_dir / 'curves.png')
