"""What memories refuse: batches, labels and indices that would be read wrongly, or ignored."""

import pytest
import torch

from glc.core.labels import PseudoLabels
from glc.core.memories import CameraMemory, ClusterMemory, HybridMemory, momentum_rows
from glc.core.memories.base import row_numbers
from tests.test_core.foreign_device import FOREIGN, ForeignDevice

FEATURES = torch.eye(6)[:, :4] + 0.1
LABELS = torch.tensor([0, 0, 1, 2, 2, -1])
CAMERAS = torch.tensor([0, 1, 0, 1, 0, 1])
MEMORIES = {
    'cluster': ClusterMemory,
    'hybrid': HybridMemory,
    'camera': CameraMemory,
    'camera and cluster': lambda: CameraMemory(cluster_weight=1.0),
}


def batch(images, features=None):
    """Features, labels and indices of some images."""
    images = torch.tensor(images, dtype=torch.int64)
    return [FEATURES[images] if features is None else features, LABELS[images], images]


@pytest.fixture(params=MEMORIES)
def memory(request):
    made = MEMORIES[request.param]()
    made.reset(PseudoLabels.from_features(FEATURES, LABELS, CAMERAS))
    return made


def refused(memory, arguments, message):
    """Both steps of a batch refuse it, and the bank stays."""
    before = memory.bank.clone()
    for step in (memory, memory.update):
        with pytest.raises(ValueError, match=message):
            step(*arguments)
    assert torch.equal(memory.bank, before)


@pytest.mark.parametrize('number', [-1, -100, 99])
def test_labels_out_of_range(number):
    for memory in (ClusterMemory(), CameraMemory(cluster_weight=1.0)):
        memory.reset(PseudoLabels.from_features(FEATURES, LABELS, CAMERAS))
        features, labels, indices = batch([0, 2, 3])
        labels[1] = number
        name = type(memory).__name__
        refused(
            memory,
            (features, labels, indices),
            rf'labels of {name} .* \[0, 3\): 1 of 3 are not, .* {number} at 1',
        )


@pytest.mark.parametrize('number', [-1, -100, 6, 99])
@pytest.mark.parametrize('made', [HybridMemory, CameraMemory])
def test_indices_out_of_range(made, number):
    memory = made()
    memory.reset(PseudoLabels.from_features(FEATURES, LABELS, CAMERAS))
    features, labels, indices = batch([0, 2, 3])
    indices[2] = number
    refused(memory, (features, labels, indices), rf'indices of {made.__name__} .* \[0, 6\): .* {number} at 2')


def test_outliers_have_no_proxy():
    memory = CameraMemory()
    memory.reset(PseudoLabels.from_features(FEATURES, LABELS, CAMERAS))
    refused(memory, batch([0, 5, 2]), 'indices of CameraMemory: 1 of 3 are those of outliers.* first at 1')


def test_empty_batches(memory):
    refused(memory, batch([]), r'B >= 1 images, got torch.int64 of shape \(0,\)')


@pytest.mark.parametrize('shape', [(3, 5), (3,), (3, 4, 1), (2, 4)])
def test_features_of_another_shape(memory, shape):
    refused(memory, batch([0, 2, 3], torch.ones(shape)), r'must be \(B')


@pytest.mark.parametrize(
    'convert', [torch.Tensor.float, torch.Tensor.bool, lambda x: x[:, None], lambda x: x[:-1]]
)
def test_numbers_that_are_not_one_integer_per_image(memory, convert):
    features, labels, indices = batch([0, 2, 3])
    refused(memory, (features, convert(labels), convert(indices)), r'must be \(B,\) integers for a batch')


def test_any_kind_of_integer_serves(memory):
    features, labels, indices = batch([0, 2, 3])
    expected = memory(features, labels, indices)
    assert torch.equal(memory(features, labels.int(), indices.short()), expected)


def test_momentum_rows_checks_its_targets():
    for targets in ([0, -1], [0, 4], [0]):
        with pytest.raises(ValueError, match='targets'):
            momentum_rows(torch.eye(4), torch.eye(4)[:2], torch.tensor(targets), 0.5, 'mean')
    with pytest.raises(ValueError, match=r'features must be \(B, 4\)'):
        momentum_rows(torch.eye(4), torch.eye(3)[:2], torch.tensor([0, 1]), 0.5, 'mean')


def test_elsewhere_a_number_below_zero_becomes_one_out_of_range_without_a_look():
    with ForeignDevice():
        numbers = torch.tensor([2, -1, -100, 7]).to(FOREIGN)
        found = row_numbers(numbers, 4, 'labels', 5)
        assert found.device.type == FOREIGN.type
        found = found.cpu().tolist()
        assert (found[0], found[3]) == (2, 7)
        assert min(found[1:3]) >= 5


@pytest.mark.parametrize('pseudo', [None, FEATURES.numpy(), [0, 1]], ids=['None', 'array', 'list'])
def test_reset_with_something_else(memory, pseudo):
    with pytest.raises(TypeError, match='reset takes PseudoLabels, got'):
        memory.reset(pseudo)
    with pytest.raises(TypeError, match='must be a tensor, got list'):
        memory(FEATURES.tolist(), LABELS, torch.arange(6))
