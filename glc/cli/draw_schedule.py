"""Draw the schedule of a config: ``python tools/visualization/draw_schedule.py CONFIG``."""

from collections.abc import Sequence
from pathlib import Path

from glc.cli._common import add_config_options, add_out, new_parser, plain_errors, save_picture

_DESCRIPTION = """Draw what the training of a config does in which epoch, without running it: learning rate,
clustering, correction, frozen labels, restart, evaluation. Epochs are counted from 1, as in the
log; the config counts from 0."""
_EXAMPLES = """
python tools/visualization/draw_schedule.py configs/glc/vit_s_market_usl_restart.py
python tools/visualization/draw_schedule.py CONFIG --cfg-options train_cfg.max_epochs=30 --out schedule.svg
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Plan the schedule, print and draw it."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('config', help='config file')
    add_out(parser, 'WORK_DIR/schedule.png')
    parser.add_argument('--work-dir', help='folder of the picture (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    args = parser.parse_args(argv)
    with plain_errors(parser):
        from glc.apis import load_config
        from glc.apis.plan import plan_schedule
        from glc.visualization import draw_schedule

        cfg = load_config(args.config, args.cfg_options, args.work_dir)
        schedule = plan_schedule(cfg)
        print(f'{len(schedule.lr)} epochs, learning rate {schedule.lr.min():.3g} to {schedule.lr.max():.3g}')
        for name, epochs in schedule.events.items():
            print(f'{name:11}{len(epochs):4}: {spans(epochs)}')
        save_picture(draw_schedule(schedule), args.out or Path(cfg.work_dir, 'schedule.png'))


def spans(numbers: Sequence[int]) -> str:
    """Write ascending numbers in short.

    Example:
        >>> spans([1, 2, 3, 5, 7, 8])
        '1-3, 5, 7, 8'
    """
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    short = (f'{part[0]}-{part[-1]}' if len(part) > 2 else ', '.join(map(str, part)) for part in parts)
    return ', '.join(short)
