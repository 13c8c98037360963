"""Report of a run, as one page for a browser: ``glc-report WORK_DIR``."""

from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import add_config_options, import_everything, new_parser, plain_errors

_DESCRIPTION = """Write one page that shows a run: a summary in words, curves, schedule, time per stage, what the
correction did, a table of clusters and sheets of some, a map of the training images, ranked lists
of the best and worst queries, config and versions. It needs no other file and no network. The run
may be going on, or have been killed."""
_EXAMPLES = """
glc-report work_dirs/demo_synthetic
glc-report work_dirs/demo_synthetic --no-network --out /tmp/report.html
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Read the work dir and write the page."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('work_dir', type=Path, help='work dir of the run')
    parser.add_argument('--out', type=Path, metavar='FILE', help='page (default: WORK_DIR/report.html)')
    parser.add_argument(
        '--no-network',
        dest='network',
        action='store_false',
        help='leave out what needs features: the map and the ranked lists. Without a GPU these take minutes on large '
        'data sets',
    )
    parser.add_argument(
        '--clusters',
        type=int,
        default=6,
        metavar='N',
        help='clusters and queries per picture (default: %(default)s)',
    )
    parser.add_argument(
        '--map-images', type=int, default=3000, metavar='N', help='images of the map (default: %(default)s)'
    )
    parser.add_argument(
        '--seed', type=int, default=0, help='of what is chosen at random (default: %(default)s)'
    )
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        import_everything()  # after --help: it takes seconds
        from glc.apis.report import RunReport
        from glc.apis.run_folder import RunFolder
        from glc.utils.files import atomic_file

        run = RunFolder(args.work_dir, args.cfg_options)
        report = RunReport(run, args.network, args.clusters, args.map_images, args.seed)
        page = report.page()
        out = args.out or args.work_dir / 'report.html'
        with atomic_file(out) as path:
            path.write_text(page, encoding='utf-8', errors='replace')
        for title, reason in report.left_out.items():
            print(f'not shown: {title}: {reason}')
        print(f'report of {args.work_dir}: {out}')
