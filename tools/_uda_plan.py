"""Checks of ``run_uda.sh`` before anything runs; prints the names of the last checkpoints of both trainings."""

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import glc.datasets  # noqa: F401
from glc.apis import ConfigOptions, share_batch
from glc.registry import DATASETS


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Check the configs of a domain adaptation',
        epilog='example: python tools/_uda_plan.py configs/source/vit_s_msmt_sup.py '
        'configs/glc/vit_s_msmt2market_uda.py --source-dir work_dirs/vit_s_msmt_sup',
    )
    parser.add_argument('source_config')
    parser.add_argument('target_config')
    parser.add_argument('--source-dir', type=Path, required=True, help='work dir of the source training')
    parser.add_argument('--gpus', type=int, default=1)
    parser.add_argument('--source-gpus', type=int, default=1)
    parser.add_argument('--source-options', nargs='*', action=ConfigOptions, default={})
    parser.add_argument('--target-options', nargs='*', action=ConfigOptions, default={})
    return parser.parse_args()


def main() -> None:
    """Check both configs with their data; the output on stdout is for the script."""
    args = parse_args()
    with redirect_stdout(sys.stderr), DefaultScope.overwrite_default_scope('glc'):
        source, target = Config.fromfile(args.source_config), Config.fromfile(args.target_config)
        source.merge_from_dict(args.source_options)
        target.merge_from_dict(args.target_options)
        last = [f'epoch_{cfg.train_cfg.max_epochs}.pth' for cfg in (source, target)]
        try:
            share_batch(source, args.source_gpus)
            share_batch(target, args.gpus)
            check_backbones(source.model.backbone, target.model.backbone)
            if not (args.source_dir / last[0]).is_file():
                check_start(source.model.backbone)
            check_data(source)
            check_data(target)
        except (FileNotFoundError, RuntimeError, ValueError) as error:
            sys.exit(f'{type(error).__name__}: {error}')
    print(*last)


def check_backbones(source: ConfigDict, target: ConfigDict) -> None:
    """Check that the target continues with the source's backbone; start and stochastic depth may differ."""
    own = [
        {key: value for key, value in backbone.items() if key not in ('init_cfg', 'drop_path_rate')}
        for backbone in (source, target)
    ]
    if own[0] != own[1]:
        raise ValueError(f'the configs have different backbones: source {own[0]}, target {own[1]}')


def check_start(backbone: ConfigDict) -> None:
    """Check that the weights that the source training starts from are there."""
    start = (backbone.get('init_cfg') or {}).get('checkpoint')
    if start is not None and not Path(start).is_file():
        raise FileNotFoundError(
            f"the weights that the source training starts from, '{start}', do not exist: put them there, or set "
            'SOURCE_OPTIONS=model.backbone.init_cfg.checkpoint=PATH'
        )


def check_data(cfg: Config) -> None:
    """Check that the data sets of training and evaluation are there and complete."""
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build({**loader.dataset, 'pipeline': []})
        classes = cfg.model.head.get('num_classes')
        identities = len(np.unique(dataset.pids))
        if loader is cfg.train_dataloader and classes not in (None, identities):
            raise ValueError(
                f'the training set has {identities:,} identities, the head {classes:,} classes: set '
                f'SOURCE_OPTIONS=model.head.num_classes={identities}'
            )


if __name__ == '__main__':
    main()
