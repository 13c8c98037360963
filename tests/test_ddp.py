"""Two gloo processes on a CPU give what one process gives."""

import json
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from glc.core.camera_memory import CameraMemory
from glc.core.hybrid_memory import HybridMemory
from glc.core.memory import BaseMemory, ClusterMemory
from tests.runs import ROOT, tiny_config, write_images


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
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


def run(cfg, folder, processes):
    """Train by the command line; returns the last checkpoint and the losses."""
    cfg.custom_imports = dict(imports=['tests.runs'])
    done = launch(cfg, folder, processes)
    (scalars,) = folder.glob('*/vis_data/scalars.json')
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    losses = [record['loss_contrast'] for record in records if 'loss_contrast' in record]
    return torch.load(folder / f'epoch_{cfg.train_cfg.max_epochs}.pth', weights_only=True), losses, done


def test_two_processes_equal_one(tmp_path):
    images = write_images(tmp_path / 'market1501')
    runs = {}
    for processes in (1, 2):
        cfg = tiny_config(
            images, tmp_path / f'p{processes}', train_cfg__max_epochs=2, train_cfg__val_interval=2
        )
        cfg.default_hooks.pseudo_label.corrector = dict(
            type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2
        )
        cfg.default_hooks.pseudo_label.correct_begin = 1
        cfg.optim_wrapper.optimizer.lr = 1e-3
        cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
        # Dropout draws other masks on every process.
        cfg.model.backbone.dropout = 0.0
        runs[processes] = run(cfg, tmp_path / f'p{processes}', processes)
    (one, losses, _), (two, other_losses, _) = runs[1], runs[2]
    assert torch.equal(one['pseudo_labels']['labels'], two['pseudo_labels']['labels'])
    torch.testing.assert_close(two['pseudo_labels']['centroids'], one['pseudo_labels']['centroids'])
    assert len(losses) == len(other_losses) == 4
    assert other_losses == pytest.approx(losses, rel=1e-4)
    torch.testing.assert_close(two['state_dict'], one['state_dict'], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(two['ema_state_dict'], one['ema_state_dict'], atol=1e-5, rtol=1e-4)


MEMORIES = [
    ClusterMemory(mode='mean'),
    CameraMemory(cluster_weight=0.5),
    CameraMemory(mode='hard'),
    HybridMemory(),
]


def learn(memory: BaseMemory, rank: int = 0, world_size: int = 1) -> dict[str, torch.Tensor]:
    """Three batches, of which this process has its share; its losses and the memory after them."""
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(30, 8))
    labels = torch.randint(-1, 5, (30,))
    memory.reset(features[:5], labels, features, torch.randint(3, (30,)))
    clustered = (labels >= 0).nonzero().flatten()
    losses = []
    for _ in range(3):
        indices = clustered[torch.randint(len(clustered), (8,))]
        batch = torch.nn.functional.normalize(torch.randn(8, 8))
        mine = slice(rank * 8 // world_size, (rank + 1) * 8 // world_size)
        losses.append(memory(batch[mine], labels[indices[mine]], indices[mine]))
        memory.update(batch[mine], labels[indices[mine]], indices[mine])
    return {'losses': torch.stack(losses), **dict(memory.named_buffers())}


def learn_in_share(rank: int, world_size: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{folder}/store', rank=rank, world_size=world_size)
    torch.save([learn(memory, rank, world_size) for memory in MEMORIES], f'{folder}/{rank}.pth')
    dist.destroy_process_group()


def test_memories_of_two_processes_equal_one(tmp_path):
    alone = [learn(memory) for memory in MEMORIES]
    mp.spawn(learn_in_share, (2, str(tmp_path)), nprocs=2)
    for expected, *shares in zip(
        alone, *(torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1)), strict=True
    ):
        losses = expected.pop('losses')
        torch.testing.assert_close((shares[0].pop('losses') + shares[1].pop('losses')) / 2, losses)
        for share in shares:
            assert share.keys() == expected.keys()
            assert all(torch.equal(share[name], value) for name, value in expected.items())


def test_a_failing_labeler_stops_all_processes(tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'market1501'), tmp_path / 'bad')
    cfg.default_hooks.pseudo_label.labeler.min_samples = 40
    with pytest.raises(AssertionError, match='found 0 clusters'):
        run(cfg, tmp_path / 'bad', 2)


def test_batch_that_cannot_be_shared(tmp_path):
    cfg = tiny_config(
        write_images(tmp_path / 'market1501'), tmp_path / 'bad', train_dataloader__batch_size=15
    )
    with pytest.raises(AssertionError, match='15 images cannot be shared by 2 processes'):
        run(cfg, tmp_path / 'bad', 2)
