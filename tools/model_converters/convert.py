r"""Write published weights in our format, and tell what became of every tensor.

What the file is, is recognized by its keys; the config says which model the weights are for.

Examples:
    python tools/model_converters/convert.py pass_usl_market.pth.tar --config configs/glc/vit_s_market_usl.py \
        --out pretrained/vit_s_usl_market.pth
    python tools/model_converters/convert.py gcn_backbone.pth gcn_head.pth --out pretrained/gcn.pth
    python tools/model_converters/convert.py epoch_50.pth --domain 1 --config CONFIG_WITHOUT_DOMAINS --out market.pth
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from glc.apis import ConfigOptions

if TYPE_CHECKING:
    from torch import Tensor, nn


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'checkpoints', nargs='+', type=Path, metavar='FILE', help='published file; two for the GCN'
    )
    parser.add_argument('--config', help='config of the model; not needed for the GCN')
    parser.add_argument('--out', type=Path, required=True, metavar='FILE', help='file to write')
    parser.add_argument(
        '--layout',
        default='auto',
        help='layout of the file, as docs/checkpoints.md has them (default: recognized by the keys)',
    )
    parser.add_argument(
        '--hw-ratio',
        type=int,
        help='height / width of the images of the pre-training (2 for persons, 1 for ImageNet)',
    )
    parser.add_argument(
        '--domain',
        type=int,
        metavar='N',
        help='keep the batch normalizations of data set N, from 0, of a model with num_domains',
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE', help='overrides of the config'
    )
    return parser.parse_args()


def build_model(args: argparse.Namespace, layout: str, state: dict[str, Tensor]) -> nn.Module:
    """Build the model of the config, or the network of GLC."""
    from mmengine.config import Config

    import glc.models  # noqa: F401
    from glc.checkpoints import link_predictor_for
    from glc.registry import MODELS

    if layout == 'gcn':
        return link_predictor_for({key.removeprefix('module.'): value for key, value in state.items()})
    if args.config is None:
        raise ValueError(f'the file has layout {layout}: name the config of the model with --config')
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    return MODELS.build(cfg.model)


def convert(args: argparse.Namespace) -> None:
    """Convert, print the table, and write.

    Raises:
        RuntimeError: If a file cannot be read, nothing matches, or shapes differ.
        ValueError: If the config is needed, the output is the input, or the layout is unknown.
        FileNotFoundError: If a file does not exist.
    """
    from glc.checkpoints import (
        LAYOUTS,
        convert_state_dict,
        load_checkpoint_file,
        one_domain,
        recognize_layout,
        unwrap_state_dict,
        write_checkpoint_file,
    )

    if args.layout not in ('auto', *LAYOUTS):
        layouts = ''.join(f'\n    {name:<10}{layout.about}' for name, layout in LAYOUTS.items())
        raise ValueError(f"there is no layout '{args.layout}', but:{layouts}")
    if args.out.resolve() in [path.resolve() for path in args.checkpoints]:
        raise ValueError(f"'{args.out}' would be overwritten: name another --out")
    state: dict[str, Tensor] = {}
    for path in args.checkpoints:
        state |= unwrap_state_dict(load_checkpoint_file(path))
    if args.domain is not None:
        state = one_domain(state, args.domain)
    layout = recognize_layout(state) if args.layout == 'auto' else args.layout
    source = ', '.join(map(str, args.checkpoints))
    converted, report = convert_state_dict(
        build_model(args, layout, state), state, layout, args.hw_ratio, source
    )
    print(report.table())
    print(
        f'\n{source}: layout {layout}, {LAYOUTS[layout].about}\n'
        f'{len(report.matched) - len(report.renamed)} matched, {len(report.renamed)} renamed, '
        f'{len(report.dropped)} skipped, {len(report.unexpected)} unexpected, {len(report.missing)} missing'
    )
    if report.mismatched:
        raise RuntimeError(
            'not written, other shapes than the model of the config: ' + '; '.join(report.mismatched)
        )
    if not report.matched:
        raise RuntimeError(
            'not written, nothing matches: is it a checkpoint of another backbone, or another --layout?'
        )
    has_neck = any(name.startswith('neck.') for name in report.matched)
    if report.unexpected and has_neck:
        raise RuntimeError('not written, the model of the config has no ' + ', '.join(report.unexpected))
    for what, names in (('unexpected', report.unexpected), ('missing', report.missing)):
        if names:
            print(
                f'warning: {len(names)} {what}, see the table; it is no whole model, but a backbone can start from it'
            )
    write_checkpoint_file(
        {'meta': {'converted_from': source, 'layout': layout}, 'state_dict': converted}, args.out
    )
    print(f"wrote '{args.out}'")


def main() -> int:
    """Run; return 1 where nothing was written."""
    try:
        convert(parse_args())
    except (OSError, RuntimeError, ValueError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
