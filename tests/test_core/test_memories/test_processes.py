"""Two gloo processes that share every batch keep the memories that one process has."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from glc.core.labels import PseudoLabels
from glc.core.memories import BaseMemory, CameraMemory, ClusterMemory, HybridMemory
from tests.runs import fork_server

pytestmark = pytest.mark.distributed

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
    memory.reset(PseudoLabels(labels, features[:5], features, torch.randint(3, (30,))))
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
    mp.start_processes(learn_in_share, (2, str(tmp_path)), nprocs=2, start_method=fork_server())
    for expected, *shares in zip(
        alone, *(torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1)), strict=True
    ):
        losses = expected.pop('losses')
        torch.testing.assert_close((shares[0].pop('losses') + shares[1].pop('losses')) / 2, losses)
        for share in shares:
            assert share.keys() == expected.keys()
            assert all(torch.equal(share[name], value) for name, value in expected.items())
