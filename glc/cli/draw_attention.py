"""Draw where a network looks: ``python tools/visualization/draw_attention.py CONFIG [CHECKPOINT] [options]``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from glc.cli._common import add_config_options, new_parser

_DESCRIPTION = """Draw images under the maps of a network: the attention of the class token and of each part token in
the last block of a ViT, or the mean activation of the last map of a convolutional network."""
_EXAMPLES = """
  python tools/visualization/draw_attention.py configs/glc/vit_s_market_usl.py work_dirs/vit_s_market_usl/epoch_50.pth
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Run some images through the network, draw them under its maps."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='checkpoint file; without it, the network that training would start from is used',
    )
    parser.add_argument(
        '--images', nargs='+', metavar='FILE', help='image files (default: some of the test set)'
    )
    parser.add_argument(
        '--number', type=int, default=8, metavar='N', help='images of the test set (default: 8)'
    )
    parser.add_argument('--seed', type=int, default=0, help='seed of their choice (default: 0)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='picture (default: WORK_DIR/attention.png)')
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    args = parser.parse_args(argv)

    import numpy as np
    import torch
    from mmengine.dataset import Compose

    from glc.apis import build_for_test, load_config
    from glc.engine.feature_extractor import deterministic_pipeline
    from glc.engine.unwrap import unwrap
    from glc.registry import DATASETS, TRANSFORMS
    from glc.utils.files import atomic_file
    from glc.utils.images import encoded
    from glc.visualization import draw_attention_maps

    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    network: Any = unwrap(build_for_test(cfg, args.checkpoint).model).eval()
    if args.images is None:
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        chosen = np.random.default_rng(args.seed).permutation(len(dataset))[: args.number]
        images = [dataset.get_data_info(int(index)) for index in np.sort(chosen)]
    else:
        images = [{'img_path': path} for path in args.images]
    paths = [image['img_path'] for image in images]
    pipeline = Compose([TRANSFORMS.build(step) for step in deterministic_pipeline(cfg)])
    packed = [pipeline(image) for image in images]
    samples = [image['data_samples'] for image in packed]
    with torch.inference_mode():
        inputs = network.data_preprocessor({'inputs': [image['inputs'] for image in packed]})['inputs']
        maps = network.attention_maps(inputs, samples)
    out = args.out or Path(cfg.work_dir, 'attention.png')
    picture = draw_attention_maps(paths, {name: part.cpu().numpy() for name, part in maps.items()})
    with atomic_file(out) as path:
        path.write_bytes(encoded(picture, out.suffix))
    print(f'{len(paths)} images under {len(maps)} maps ({", ".join(maps)}): {out}')


if __name__ == '__main__':
    main()
