"""Export a network to ONNX or torch.export, and check that the file gives the same features."""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glc.cli._common import add_config_options, new_parser, plain_errors

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import Tensor

    from glc.deployment.exported import ExportedNetwork, InputFormat

_EXAMPLES = """
  python tools/deployment/export.py CONFIG CHECKPOINT reid.onnx --normalize-inside
  python tools/deployment/export.py CONFIG CHECKPOINT reid_fp16.onnx --dtype float16 --images data/my_images
  python tools/deployment/export.py CONFIG CHECKPOINT reid_int8.onnx --dtype int8 --calibrate data/my_images
  python tools/deployment/export.py CONFIG CHECKPOINT reid.pt2 --format torch_export
"""
_ENDINGS = {'onnx': '.onnx', 'torch_export': '.pt2'}
# Largest difference of a unit feature from that of the float32 network.
_TOLERANCES = {'float32': 1e-4, 'float16': 1e-2, 'int8': 0.2}


def _parser() -> argparse.ArgumentParser:
    parser = new_parser(__doc__, _EXAMPLES)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help="checkpoint file; without it, or with '-', the network that training would start from is exported",
    )
    parser.add_argument('out', type=Path, help='file to write: .onnx, or .pt2 of torch.export')
    parser.add_argument('--format', choices=_ENDINGS, default='onnx', help='default: %(default)s')
    parser.add_argument(
        '--dtype',
        choices=_TOLERANCES,
        default='float32',
        help='type of the computation (default: %(default)s)',
    )
    parser.add_argument(
        '--normalize-inside',
        action='store_true',
        help='take uint8 pixels (0 to 255) and normalize them in the network; else images are float32, normalized',
    )
    parser.add_argument(
        '--channels',
        choices=['rgb', 'bgr'],
        help='order of the channels of the pixels, with --normalize-inside (default: that of the network)',
    )
    parser.add_argument(
        '--static-batch',
        type=int,
        nargs='?',
        const=1,
        metavar='N',
        help='take exactly N images at once (default: any number; without N: one)',
    )
    parser.add_argument(
        '--calibrate',
        metavar='FOLDER',
        help='images that give the ranges of int8 (static quantization; without it: dynamic quantization)',
    )
    parser.add_argument(
        '--images',
        metavar='FOLDER',
        help='also compare features of images of this folder',
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=128,
        metavar='N',
        help='images taken of a folder (default: %(default)s)',
    )
    parser.add_argument(
        '--tolerance',
        type=float,
        help='largest difference of unit features (default: '
        + ', '.join(f'{value:g} for {name}' for name, value in _TOLERANCES.items())
        + ')',
    )
    parser.add_argument('--work-dir', help='folder of the log (default: work_dirs/CONFIG_NAME)')
    add_config_options(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file and compare its features; return 1 where they differ."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.out.suffix != _ENDINGS[args.format]:
        parser.error(
            f'--format {args.format} writes files that end in {_ENDINGS[args.format]}, got {args.out}'
        )
    if args.dtype == 'int8' and args.format != 'onnx':
        parser.error('--dtype int8 needs --format onnx')
    if args.calibrate and args.dtype != 'int8':
        parser.error('--calibrate needs --dtype int8')
    if args.channels and not args.normalize_inside:
        parser.error('--channels needs --normalize-inside: normalized images have the order of the network')
    if args.num_images < 1:
        parser.error(f'--num-images must be at least 1, got {args.num_images}')
    if args.static_batch is not None and args.static_batch < 1:
        parser.error(f'--static-batch must be at least 1, got {args.static_batch}')
    if args.checkpoint == '-':
        args.checkpoint = None
    with plain_errors(parser):
        return _export(args)


def _export(args: argparse.Namespace) -> int:
    import numpy as np
    import torch

    import glc
    from glc.apis import build_for_test, load_config
    from glc.deployment.exported import ExportedNetwork, metadata_texts
    from glc.deployment.exporting import ExportableNetwork, export_network, quantize_onnx

    cfg = load_config(args.config, args.cfg_options, args.work_dir)
    network = build_for_test(cfg, args.checkpoint).model.cpu().eval()
    image_format = _image_format(cfg, network, args.normalize_inside, args.channels, args.static_batch)
    exportable = ExportableNetwork(network, image_format, half=args.dtype == 'float16')
    metadata = metadata_texts(
        image_format,
        glc_version=glc.__version__,
        config=Path(args.config).stem,
        checkpoint=args.checkpoint and Path(args.checkpoint).name,
        dtype=args.dtype,
        flip_test=network.flip_test,
        resize=_resize(cfg),
    )
    # Read before the work, which takes minutes for a large network.
    noise = (5, 3, image_format.height, image_format.width)
    pixels = {'random images': torch.randint(0, 256, noise, generator=torch.Generator().manual_seed(0))}
    for folder in filter(None, (args.calibrate, args.images)):
        pixels[f"images of '{folder}'"] = _pixels(cfg, folder, args.num_images)
    if args.dtype == 'int8':
        batches = None
        if args.calibrate:
            size = image_format.batch or 16
            calibration = f"images of '{args.calibrate}'"
            parts = pixels[calibration].split(size)
            batches = [image_format.inputs(part) for part in parts if image_format.batch in (None, len(part))]
            if not batches:
                raise ValueError(
                    f"'{args.calibrate}' has {len(pixels[calibration])} images, fewer than --static-batch {size}"
                )
        with tempfile.TemporaryDirectory() as scratch:
            plain = Path(scratch, 'float32.onnx')
            export_network(exportable, image_format, plain, metadata)
            quantize_onnx(plain, args.out, batches)
    else:
        export_network(exportable, image_format, args.out, metadata)
    megabytes = args.out.stat().st_size / 1e6
    print(f'{args.out}: {args.format}, {args.dtype}, {megabytes:.1f} MB, {_said(image_format)}')

    written = ExportedNetwork(args.out)
    tolerance = _TOLERANCES[args.dtype] if args.tolerance is None else args.tolerance
    worst = float(np.max([_difference(name, network, written, batch) for name, batch in pixels.items()]))
    if worst <= tolerance:  # not a number is not
        return 0
    print(
        f'error: the features of {args.out.absolute()} differ by {worst:.2g} from those of the network, more than '
        f'--tolerance {tolerance:g}. Do not use the file; see docs/deployment.md',
        file=sys.stderr,
    )
    return 1


def _image_format(
    cfg: 'Config', network: Any, inside: bool, channels: str | None, batch: int | None
) -> 'InputFormat':
    """Read from a config what its network takes."""
    import numpy as np
    from mmengine.dataset import Compose

    from glc.deployment.exported import InputFormat
    from glc.engine.feature_extractor import deterministic_pipeline
    from glc.registry import TRANSFORMS

    preprocessor = network.data_preprocessor
    own = 'rgb' if preprocessor.bgr_to_rgb else 'bgr'
    channels = channels or own
    steps = [step for step in deterministic_pipeline(cfg) if step['type'] != 'LoadReIDImage']
    pixels = np.zeros((256, 128, 3), np.uint8)
    _, height, width = Compose([TRANSFORMS.build(step) for step in steps])({'img': pixels})['inputs'].shape
    mean, std = (
        tuple(values.flatten().tolist())[:: 1 if channels == own else -1]
        for values in (preprocessor.mean, preprocessor.std)
    )
    return InputFormat(height, width, channels, mean, std, inside, batch)


def _resize(cfg: 'Config') -> dict[str, str]:
    """Return how the pipeline resizes images."""
    from glc.engine.feature_extractor import deterministic_pipeline

    steps = (step for step in deterministic_pipeline(cfg) if step['type'] == 'Resize')
    return {
        key: value for step in steps for key, value in step.items() if key in ('backend', 'interpolation')
    }


def _pixels(cfg: 'Config', folder: str, number: int) -> 'Tensor':
    """Load images of a folder, at even distances, through the pipeline of tests: (B, 3, H, W) uint8, BGR."""
    import torch

    from glc.datasets import ImageFolderReID
    from glc.engine.feature_extractor import deterministic_pipeline

    dataset = ImageFolderReID(
        folder, folders={'query': '', 'gallery': ''}, pipeline=deterministic_pipeline(cfg)
    )
    chosen = range(0, len(dataset), max(1, len(dataset) // number))[:number]
    return torch.stack([dataset[index]['inputs'] for index in chosen])


def _difference(name: str, network: Any, written: 'ExportedNetwork', pixels: 'Tensor') -> float:
    """Print and return the largest difference between unit features of a network and its file."""
    import torch
    import torch.nn.functional as F

    from glc.models.reid import features_for_test

    expected, found = [], []
    with torch.no_grad():
        # The first image alone: a file that takes any number of images must take one.
        for part in (pixels[:1], *pixels.split(16)):
            inputs = network.data_preprocessor({'inputs': part})['inputs']
            expected.append(F.normalize(features_for_test(network, inputs)))
            found.append(F.normalize(written(written.format.inputs(part))))
    one, other = torch.cat(expected), torch.cat(found)
    largest = float((one - other).abs().max())
    print(
        f'{len(pixels)} {name}: largest difference of unit features {largest:.1e}, '
        f'smallest cosine similarity {float((one * other).sum(1).min()):.5f}'
    )
    return largest


def _said(image_format: 'InputFormat') -> str:
    pixels = 'uint8 pixels' if image_format.normalize_inside else 'normalized float32'
    batch = image_format.batch or 'any number'
    return (
        f"input 'images' ({batch}, 3, {image_format.height}, {image_format.width}), {pixels}, "
        f"{image_format.channels}; output 'features'"
    )
