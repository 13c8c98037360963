"""Two and four gloo processes on a CPU give what one process gives."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist

from glc import JaccardDBSCAN
from glc.registry import PSEUDO_LABELERS
from tests.runs import ROOT, tiny_config, write_images
from tests.test_engine.test_processes import free_port

pytestmark = [pytest.mark.slow, pytest.mark.distributed]


def launch(cfg, folder, processes):
    """Train by the command line."""
    config = folder / 'config.py'
    folder.mkdir()
    cfg.dump(config)
    start = [sys.executable]
    if processes > 1:
        start += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    launcher = 'pytorch' if processes > 1 else 'none'
    command = [*start, 'tools/train.py', str(config), '--work-dir', str(folder), '--launcher', launcher]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-20000:]
    return done


def run(cfg, folder, processes):
    """Train by the command line; returns the last checkpoint and the losses."""
    cfg.custom_imports = dict(imports=['tests.runs'])
    launch(cfg, folder, processes)
    return outcome(folder, cfg.train_cfg.max_epochs)


def outcome(folder, epoch):
    """The checkpoint of an epoch, and the losses."""
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    losses = [record['loss_contrast'] for record in records if 'loss_contrast' in record]
    return torch.load(folder / f'epoch_{epoch}.pth', weights_only=True), losses


FORKS = """
import multiprocessing, os, sys
from pathlib import Path
from mmengine.config import Config
import tests.runs
from glc.apis import build_runner, prepare_config

def train(path, rank, size, port):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    cfg = Config.fromfile(path)
    cfg.work_dir = str(path.with_name(f'p{size}'))
    build_runner(prepare_config(cfg, 'pytorch' if size > 1 else 'none')).train()

fork = multiprocessing.get_context('fork').Process
for size, port in zip((1, 2, 4), sys.argv[2:]):
    started = [fork(target=train, args=(Path(sys.argv[1]), rank, size, port)) for rank in range(size)]
    for process in started:
        process.start()
    for process in started:
        process.join()
        assert process.exitcode == 0
"""


def test_one_two_and_four_processes_are_equal(tmp_path):
    """The labels; weights and losses to float32. The processes are forked, so they import nothing."""
    cfg = tiny_config(
        write_images(tmp_path / 'market1501'), tmp_path, train_cfg__max_epochs=2, train_cfg__val_interval=2
    )
    cfg.model.bn_group_size = 4
    cfg.default_hooks.pseudo_label.corrector = dict(
        type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2
    )
    cfg.default_hooks.pseudo_label.correct_begin = 1
    cfg.optim_wrapper.optimizer.lr = 1e-3
    cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
    # Dropout draws other masks on every process.
    cfg.model.backbone.dropout = 0.0
    cfg.dump(tmp_path / 'config.py')
    ports = [str(free_port()) for _ in range(3)]
    command = [sys.executable, '-c', FORKS, str(tmp_path / 'config.py'), *ports]
    env = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''}
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-20000:]
    one, losses = outcome(tmp_path / 'p1', 2)
    for size in (2, 4):
        other, other_losses = outcome(tmp_path / f'p{size}', 2)
        assert torch.equal(one['pseudo_labels']['labels'], other['pseudo_labels']['labels'])
        torch.testing.assert_close(other['pseudo_labels']['centroids'], one['pseudo_labels']['centroids'])
        assert len(losses) == len(other_losses) == 4
        assert other_losses == pytest.approx(losses, rel=1e-4)
        for part in ('state_dict', 'ema_state_dict'):
            torch.testing.assert_close(other[part], one[part], atol=1e-5, rtol=1e-4)


def test_a_failing_labeler_stops_all_processes(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.default_hooks.pseudo_label.labeler.min_samples = 40
    with pytest.raises(AssertionError, match='found 0 clusters'):
        run(cfg, tmp_path / 'bad', 2)


def test_a_loss_that_is_no_number_stops_all_processes(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.optim_wrapper.optimizer.lr = 1e38
    with pytest.raises(AssertionError, match=r'iteration 2 \(epoch 1\): the loss is .*The images are /'):
        run(cfg, tmp_path / 'bad', 2)
    assert not list((tmp_path / 'bad').glob('*.pth'))


@PSEUDO_LABELERS.register_module()
class FailsOnOneProcess(JaccardDBSCAN):
    """Fails on the second process only, in its second call."""

    calls = 0

    def __call__(self, view):
        self.calls += 1
        if self.calls == 2 and dist.get_rank() == 1:
            raise ZeroDivisionError('only on this process')
        return super().__call__(view)


def test_a_failure_of_one_process_ends_all(tmp_path):
    """The others would wait for the time of dist_cfg.timeout."""
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.default_hooks.pseudo_label.labeler = dict(
        type='FailsOnOneProcess', eps=0.6, k1=6, k2=2, min_samples=2
    )
    cfg.custom_imports = dict(imports=['tests.runs', 'tests.test_ddp'])
    with pytest.raises(AssertionError, match=r'\[rank1\]: ZeroDivisionError: only on this process'):
        launch(cfg, tmp_path / 'bad', 2)


def test_batch_that_cannot_be_shared(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.train_dataloader.batch_size = 15
    cfg.train_dataloader.sampler.update(num_ids=5, num_instances=3)
    with pytest.raises(AssertionError, match='15 images cannot be shared by 2 processes'):
        run(cfg, tmp_path / 'bad', 2)
