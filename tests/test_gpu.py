"""Trainings and extractions on a GPU; the parts of the core have tests of their own."""

import numpy as np
import pytest

from glc.apis import ReIDInferencer, prepare_config
from tests.runs import assert_same, state, tiny_config, train

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
MEMORIES = ['ClusterMemory', 'CameraMemory']


@pytest.mark.parametrize('amp', [False, True])
@pytest.mark.parametrize('memory', MEMORIES)
def test_a_training_is_on_the_gpu_and_its_numbers_are_finite(images, tmp_path, memory, amp):
    cfg = tiny_config(images, tmp_path / 'run', model__head__memory__type=memory)
    prepare_config(cfg, amp=amp)
    runner = train(cfg)
    tensors = state(runner)
    assert next(runner.model.parameters()).is_cuda
    assert all(value.isfinite().all() for value in tensors.values() if value.is_floating_point())


def test_a_deterministic_training_is_the_same_again(images, tmp_path):
    runs = [train(tiny_config(images, tmp_path / name, randomness__deterministic=True)) for name in 'ab']
    assert_same(*map(state, runs))


def test_features_are_those_of_a_cpu(network):
    paths = sorted(network.images.iterdir())[:8]
    on_gpu, on_cpu = (
        ReIDInferencer(network.config, network.weights, device=device)(paths).features
        for device in ('cuda', 'cpu')
    )
    np.testing.assert_allclose(on_gpu, on_cpu, atol=2e-3)  # products with factors of 10 bits
