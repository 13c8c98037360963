"""Small but complete training runs on images made here."""

import atexit
import copy
import itertools
import json
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from threading import Thread
from unittest.mock import patch

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from glc.apis import build_runner, prepare_config
from glc.datasets import Market1501
from glc.models.backbones.base import BaseBackbone
from glc.registry import DATASETS, MODELS

ROOT = Path(__file__).resolve().parent.parent
_RUNS = itertools.count()

# Options of runs that more than one module makes.
RESTART = {
    'default_hooks.restart': dict(type='RestartHook', epoch=2, lr=0.02),
    'param_scheduler': [
        dict(type='StepLR', begin=0, end=2, step_size=1, gamma=0.5, by_epoch=True),
        dict(type='StepLR', begin=2, end=4, step_size=1, gamma=0.1, by_epoch=True),
    ],
}
# Epoch 2 keeps the labels, for which a resumed run needs the features of epoch 1; epoch 3 labels anew.
HYBRID = {
    'model.head.memory': dict(type='HybridMemory'),
    'train_dataloader.sampler.outlier_groups': 1,
    'default_hooks.pseudo_label.frozen_epochs': [2],
    'default_hooks.pseudo_label.labeler': dict(
        _delete_=True,
        type='SelfPacedReliability',
        gap=0.1,
        labeler=dict(type='JaccardDBSCAN', eps=0.6, k1=6, k2=2, min_samples=2),
    ),
}
PASS_BACKBONE = dict(
    type='PASSViT', arch=dict(dim=24, depth=2, heads=2), img_size=(32, 16), patch_size=8, stride=8
)

# Asks a process of the tests to run a script, waits for it even where a launcher ends it, and exits as it does.
WARM_PYTHON = """#!{python} -S
import os, signal, sys
from multiprocessing.connection import Client

signal.signal(signal.SIGTERM, signal.SIG_IGN)
with Client({address!r}) as server:
    output = [f'/proc/{{os.getpid()}}/fd/{{number}}' for number in (1, 2)]
    server.send((sys.argv[1:], os.getcwd(), dict(os.environ), *output))
    sys.exit(server.recv())
"""


@MODELS.register_module()
class TinyBackbone(BaseBackbone):
    """Two convolutions with BatchNorm and dropout."""

    def __init__(self, dropout: float = 0.1, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.out_channels = 32
        layers = [[nn.Conv2d(i, o, 3, 2), nn.BatchNorm2d(o), nn.ReLU()] for i, o in ((3, 16), (16, 32))]
        self.layers = nn.Sequential(*layers[0], nn.Dropout(dropout), *layers[1])

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map ``(B, 32, 15, 7)`` of images ``(B, 3, 64, 32)``."""
        return self.layers(inputs)


@DATASETS.register_module()
class ShuffledPids(Market1501):
    """Market-1501 whose ground truth is permuted; the images and their order stay."""

    def load_data_list(self) -> list[dict]:
        """Data list with permuted pids."""
        data_list = super().load_data_list()
        shuffled = np.random.default_rng(0).permutation([info['pid'] for info in data_list])
        return [{**info, 'pid': int(pid)} for info, pid in zip(data_list, shuffled, strict=True)]


def write_images(
    root: Path, num_ids: int = 8, per_camera: int = 3, num_cams: int = 2, contrast: float = 0.4
) -> Path:
    """A data set in Market-1501 layout: a faint coarse pattern per person, a tint per camera, and noise.

    Returns:
        ``root``.
    """
    rng = np.random.default_rng(0)
    folders = {
        'bounding_box_train': range(1, num_ids + 1),
        'query': range(101, 105),
        'bounding_box_test': range(101, 105),
    }
    for folder, pids in folders.items():
        (root / folder).mkdir(parents=True)
        for pid in pids:
            pattern = np.random.default_rng(pid).integers(0, 256, (8, 4, 3))
            for cam in range(1, num_cams + 1):
                for shot in range(1 if folder == 'query' else per_camera):
                    image = (
                        80
                        + contrast * np.kron(pattern, np.ones((8, 8, 1)))
                        + 20 * np.sin([cam, 2 * cam, 5 * cam])
                    )
                    image += rng.normal(0, 30, image.shape)
                    name = f'{pid:04d}_c{cam}s1_{shot:06d}_00.jpg'
                    cv2.imwrite(str(root / folder / name), image.clip(0, 255).astype(np.uint8))
    return root


def tiny_config(data_root: Path, work_dir: Path, **options: object) -> Config:
    """Config of a run of seconds; ``options`` are dotted overrides with ``__`` for the dots."""
    resize = dict(type='Resize', scale=(32, 64), backend='pillow', interpolation='bicubic')
    train_pipeline = [
        dict(type='LoadReIDImage'),
        resize,
        dict(type='RandomFlip', prob=0.5),
        dict(type='PadRandomCrop', padding=4, size=(32, 64)),
        dict(type='RandomErasing'),
        dict(type='PackReIDInputs'),
    ]
    test_pipeline = [dict(type='LoadReIDImage'), resize, dict(type='PackReIDInputs')]
    dataset = dict(type='Market1501', data_root=str(data_root), check='off')
    test_dataloader = dict(
        batch_size=16,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dict(**dataset, split='test', pipeline=test_pipeline),
    )
    cfg = Config.fromfile(ROOT / 'configs/_base_/labelers/jaccard_dbscan.py')
    cfg.merge_from_dict(
        dict(
            model=dict(
                type='UnsupervisedReID',
                backbone=dict(type='TinyBackbone'),
                neck=dict(type='ReIDNeck', in_channels=32),
                head=dict(type='ContrastHead', memory=dict(type='ClusterMemory')),
                bn_group_size=8,
            ),
            train_dataloader=dict(
                batch_size=16,
                num_workers=0,
                sampler=dict(type='PseudoIdentitySampler', num_ids=4, num_instances=4, iterations=2),
                dataset=dict(**dataset, split='train', pipeline=train_pipeline),
            ),
            val_dataloader=test_dataloader,
            test_dataloader=copy.deepcopy(test_dataloader),
            val_evaluator=dict(type='ReIDMetric'),
            test_evaluator=dict(type='ReIDMetric'),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.05, momentum=0.9)),
            param_scheduler=[dict(type='StepLR', step_size=3, gamma=0.1, by_epoch=True)],
            train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=100),
            val_cfg=dict(),
            test_cfg=dict(),
            work_dir=str(work_dir),
        )
    )
    cfg.merge_from_dict(
        {
            'default_hooks.pseudo_label.labeler': dict(k1=6, k2=2, min_samples=2),
            'default_hooks.pseudo_label.num_workers': 0,
            'default_hooks.pseudo_label.batch_size': 16,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'default_hooks.logger.interval': 1,
        }
    )
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in options.items()})
    cfg.experiment_name = f'{work_dir.name}_{next(_RUNS)}'  # mmengine keeps loggers by this name
    return cfg


def source_config(images: Path, work_dir: Path, num_classes: int = 8, **options: object) -> Config:
    """Config of a run of seconds on the identities of its data set."""
    cfg = tiny_config(images, work_dir, **options)
    cfg.default_hooks.pop('pseudo_label')
    cfg.default_hooks.identity_label = dict(type='IdentityLabelHook')
    cfg.model.type = 'SupervisedReID'
    cfg.model.head = dict(type='SupervisedHead', in_channels=32, num_classes=num_classes)
    return cfg


def pass_config(images: Path, work_dir: Path, **options: object) -> Config:
    """Config of a PASS pre-training of seconds; ``options`` are dotted overrides."""
    cfg = Config.fromfile(ROOT / 'configs/pass/vit_tiny_market_cpu.py')
    arch = dict(_delete_=True, **PASS_BACKBONE['arch'])
    cfg.merge_from_dict(
        {
            'model.backbone': dict(PASS_BACKBONE, arch=arch, drop_path_rate=0.1),
            'model.head': dict(hidden_channels=16, bottleneck_channels=8, num_outputs=32),
            'train_dataloader.batch_size': 8,
            'train_dataloader.sampler.batch_size': 8,
            'train_dataloader.dataset': dict(data_root=str(images), check='off', indices=24),
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'default_hooks.self_distillation.frozen_epochs': 1,
            'train_cfg.max_epochs': 3,
            'work_dir': str(work_dir),
            **options,
        }
    )
    crop = cfg.train_dataloader.dataset.pipeline[1]
    crop.global_size, crop.local_size = (16, 32), (8, 16)
    cfg.test_dataloader.dataset.pipeline[1].scale = (16, 32)
    cfg.experiment_name = f'{work_dir.name}_{next(_RUNS)}'  # mmengine keeps loggers by this name
    return cfg


def train(cfg: Config, resume: Path | None = None) -> Runner:
    """Run the training of a config to its end."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = f'{Path(cfg.work_dir).name}_{next(_RUNS)}'
    if resume is not None:
        cfg.resume, cfg.load_from = True, str(resume)
    runner = build_runner(prepare_config(cfg))
    runner.train()
    return runner


def fork_server() -> str:
    """Start, once, a process without a GPU that imports everything and forks others; return its start method."""
    with patch.dict(os.environ, CUDA_VISIBLE_DEVICES=''):
        forkserver.set_forkserver_preload(
            ['tests.runs', *(f'glc.{name}' for name in ('datasets', 'engine', 'evaluation', 'models'))]
        )
        forkserver.ensure_running()
    return 'forkserver'


def free_port() -> int:
    """A port that nobody listens to."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def train_by_command(words: Sequence[object], processes: int, log: Path) -> tuple[list[int], str]:
    """Run ``tools/train.py`` on processes, as a launcher does: exit codes, and what all of them print."""
    words, environment = list(map(str, words)), {'LOCAL_RANK': '0'}
    if processes > 1:
        words += ['--launcher', 'pytorch']
        environment |= {
            'WORLD_SIZE': str(processes),
            'MASTER_ADDR': '127.0.0.1',
            'MASTER_PORT': str(free_port()),
        }
    context = multiprocessing.get_context(fork_server())
    words = ['tools/train.py', *words]
    children = [
        context.Process(target=_script, args=(words, ROOT, {**environment, 'RANK': str(rank)}, log, log))
        for rank in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(300)
        child.kill()
    return [child.exitcode for child in children], log.read_text()


@contextmanager
def warm_python(folder: Path) -> Iterator[Path]:
    """Write an interpreter for scripts, which runs them in processes that are forked from one that has imported all."""
    context, python = multiprocessing.get_context(fork_server()), folder / 'warm_python'
    with Listener(str(folder / 'socket'), 'AF_UNIX', backlog=8) as listener:

        def serve(client: Connection) -> None:
            child = context.Process(target=_script, args=client.recv())
            child.start()
            child.join()
            client.send(child.exitcode)

        def accept() -> None:
            with suppress(OSError):  # closed
                while True:
                    Thread(target=serve, args=(listener.accept(),), daemon=True).start()

        Thread(target=accept, daemon=True).start()
        python.write_text(WARM_PYTHON.format(python=sys.executable, address=listener.address))
        python.chmod(0o755)
        yield python


def _script(words: list[str], folder: Path, environment: dict[str, str], out: Path, errors: Path) -> None:
    """Run a script with its arguments, as an interpreter does."""
    os.chdir(folder)
    os.environ.update(environment)
    with open(out, 'a', buffering=1) as sys.stdout, open(errors, 'a', buffering=1) as sys.stderr:
        sys.argv = words
        try:
            runpy.run_path(words[0], run_name='__main__')
        except Exception:
            sys.excepthook(*sys.exc_info())
            sys.exit(1)
        finally:
            atexit._run_exitfuncs()


def hook_of(runner: Runner, kind: type[Hook]) -> Hook:
    """The hook of a kind."""
    return next(hook for hook in runner.hooks if isinstance(hook, kind))


def records(runner: Runner) -> list[dict]:
    """Logged scalars of a run."""
    path = Path(runner.work_dir) / runner.timestamp / 'vis_data' / 'scalars.json'
    return [json.loads(line) for line in path.read_text().splitlines()]


def log(runner: Runner) -> str:
    """Logged text of a run."""
    return (Path(runner.work_dir) / runner.timestamp / f'{runner.timestamp}.log').read_text()


def state(runner: Runner) -> dict[str, torch.Tensor]:
    """Everything that a resumed run must have in common with an uninterrupted one."""
    hook = next(hook for hook in runner.hooks if hasattr(hook, 'pseudo'))
    optimizer = runner.optim_wrapper.optimizer
    return {
        **{f'model.{name}': value.clone() for name, value in runner.model.state_dict().items()},
        'labels': hook.pseudo.labels,
        'centroids': hook.pseudo.centroids,
        **{f'memory.{name}': value.clone() for name, value in runner.model.memory.named_buffers()},
        **{
            f'teacher.{name}': value.clone()
            for hook in runner.hooks
            if hasattr(hook, 'teacher')
            for name, value in hook.teacher.state_dict().items()
        },
        'lr': torch.tensor([group['lr'] for group in optimizer.param_groups]),
        'momentum': torch.cat(
            [
                optimizer.state[p]['momentum_buffer'].flatten()
                for p in optimizer.param_groups[0]['params']
                if p in optimizer.state
            ]
        ),
        'draws': torch.tensor(list(runner.train_dataloader.sampler)),
    }


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """Bit for bit."""
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different
