"""On a GPU, memories compute what they compute on a CPU, and the CPU waits for nothing."""

import copy
import itertools
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.gpu import kernels_work
from glc.core.labels import PseudoLabels
from glc.core.memories import BaseMemory, CameraMemory, ClusterMemory, HybridMemory
from tests.test_core.test_memories.test_cluster import naive_update, unit

ROOT = Path(__file__).resolve().parents[3]

BUILDERS = {
    'cluster, hard': lambda: ClusterMemory(mode='hard'),
    'cluster, mean': lambda: ClusterMemory(mode='mean'),
    'camera, hard': lambda: CameraMemory(mode='hard', cluster_weight=0.5),
    'camera, mean': lambda: CameraMemory(mode='mean', num_negatives=3),
    'hybrid': HybridMemory,
}


def memory_and_batch(name: str) -> tuple[BaseMemory, tuple[torch.Tensor, ...]]:
    """A memory of 40 images, and a batch of 24 images with repetitions, two of a cluster of one camera."""
    torch.manual_seed(0)
    labels = torch.arange(40) % 8
    labels[::7] = -1
    memory = BUILDERS[name]()
    memory.reset(PseudoLabels.from_features(unit(40, 8), labels, torch.arange(40) // 8 % 3))
    clustered = (labels >= 0).nonzero().flatten()
    indices = clustered[torch.randint(len(clustered), (24,))]
    return memory, (unit(24, 8, seed=1), labels[indices], indices)


def step(memory: BaseMemory, features: torch.Tensor, *numbers: torch.Tensor) -> list[torch.Tensor]:
    """Loss, gradient and the memory after the update."""
    features = features.detach().requires_grad_()
    loss = memory(features, *numbers)
    memory.update(features, *numbers)
    loss.backward()
    return [loss.detach(), features.grad, *memory.buffers()]


@pytest.mark.parametrize('name', BUILDERS)
def test_no_operation_depends_on_values(name, monkeypatch):
    """Tensors without values refuse such operations. Updates in turn depend on them where there is no kernel."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: nullcontext())  # knows no such device
    memory, batch = memory_and_batch(name)
    memory.mode = 'hard'
    step(memory.to('meta'), *(part.to('meta') for part in batch))


@pytest.mark.gpu
@pytest.mark.parametrize('name', BUILDERS)
def test_a_gpu_is_not_waited_for_and_gives_the_same(name):
    memory, batch = memory_and_batch(name)
    on_gpu, gpu_batch = memory_and_batch(name)[0].cuda(), [part.cuda() for part in batch]
    expected = step(memory, *batch)
    torch.cuda.set_sync_debug_mode('error')
    try:
        found = step(on_gpu, *gpu_batch)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), other, atol=1e-6, rtol=1e-5)


def compare_the_kernels_with_plain_programs() -> None:
    """Run the kernels on a CPU, which takes a process with TRITON_INTERPRET=1."""
    from glc.core.evaluation.ranking_triton import count_ranks
    from glc.core.memories.triton_kernels import cross_entropy_, move_means_, move_rows_

    assert kernels_work(torch.device('cpu'))
    for mode, momentum in itertools.product(('mean', 'hard'), (0.0, 0.2, 0.9, 1.0)):
        for num_rows, batch, dim in ((1, 1, 5), (3, 20, 8), (6, 9, 33)):
            bank, features = unit(num_rows, dim), unit(batch, dim, seed=1)
            targets = torch.randint(num_rows, (batch,), generator=torch.Generator().manual_seed(2))
            rows = bank[targets]
            move_rows_(rows, features, targets, momentum, mode)
            expected = naive_update(bank, features, targets, momentum, mode)[targets]
            torch.testing.assert_close(rows, expected, atol=1e-6, rtol=1e-5)
    for batch, size in ((1, 1), (3, 700), (2, 9001)):  # a block and a part of one, and several blocks
        similarities = 20 * torch.randn(batch, size, generator=torch.Generator().manual_seed(3))
        rows = torch.arange(batch) * (size // batch)
        exact = similarities.double().requires_grad_()
        expected = torch.nn.functional.cross_entropy(exact, rows)
        expected.backward()
        loss, gradient = cross_entropy_(similarities, rows)
        torch.testing.assert_close(loss.double(), expected.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(gradient.double(), exact.grad, atol=1e-6, rtol=1e-5)
    for draws in (
        [2],
        [0, 1, 0, 3, 5, 5, 4, 0, 1],
    ):  # images drawn again, classes hit again, images and outliers
        memory = HybridMemory(momentum=0.5)
        memory.reset(PseudoLabels.from_features(unit(6, 5), torch.tensor([0, 0, 1, -1, 1, -1])))
        images, classes = torch.tensor(draws), memory.classes[draws]
        moved = copy.deepcopy(memory)
        moved.update(unit(len(draws), 5, seed=1), images, images)
        rows = moved.instances[images]
        move_means_(memory.bank, memory._sums, memory._sizes, classes, images, memory.instances, rows)
        torch.testing.assert_close(memory.bank, moved.bank, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(memory._sums, moved._sums, atol=1e-12, rtol=1e-12)

    for dtype, (count, size) in itertools.product((torch.float32, torch.float64), ((1, 3), (7, 1100))):
        nearness = torch.randint(9, (count, size), generator=torch.Generator().manual_seed(4)).to(dtype)
        asked = torch.rand(count, size, generator=torch.Generator().manual_seed(5)) < 0.03
        asked[0, -1] = True
        asked[1:2] = False  # a query without matches
        nearness[:, ::5] = nearness[:, ::5].where(asked[:, ::5], -torch.inf)
        queries, images = asked.nonzero().T.contiguous()
        order = nearness.argsort(dim=1, descending=True, stable=True)
        ranks = order.argsort(dim=1)[queries, images] + 1
        assert count_ranks(nearness, queries, images).tolist() == ranks.tolist()


def test_kernels_that_cannot_be_compiled_are_done_without(caplog):
    """As on a GPU without a C compiler: here there is no GPU that they could be compiled for."""
    pytest.importorskip('triton', reason='needs triton, which comes with torch for GPUs')
    kernels_work.cache_clear()
    assert not kernels_work(torch.device('cpu'))
    assert 'triton compiles no kernels for cpu' in caplog.text
    assert 'apt install gcc python3-dev' in caplog.text
    kernels_work.cache_clear()


@pytest.mark.slow
def test_the_kernels_equal_plain_programs():
    pytest.importorskip('triton', reason='needs triton, which comes with torch for GPUs')
    code = f'from {__name__} import *; compare_the_kernels_with_plain_programs()'
    environment = {**os.environ, 'TRITON_INTERPRET': '1', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


@settings(deadline=None, max_examples=20)
@given(targets=st.lists(st.integers(0, 3), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_an_image_that_is_drawn_often_changes_the_mean_of_its_class_once(targets, seed):
    memory = HybridMemory(momentum=0.5)
    memory.reset(PseudoLabels.from_features(unit(4, 8), torch.tensor([0, 0, 1, -1])))
    memory.update(unit(len(targets), 8, seed=seed), torch.zeros(len(targets)), torch.tensor(targets))
    means = [memory.instances[:2].mean(0), memory.instances[2], memory.instances[3]]
    torch.testing.assert_close(memory.bank, torch.stack(means), atol=1e-6, rtol=1e-5)
