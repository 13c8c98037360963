import copy
import math
from contextlib import suppress

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from glc.models.layers import (
    IBN,
    CameraStatistics,
    DomainBatchNorm,
    Domains,
    GeM,
    GhostBatchNorm1d,
    GhostBatchNorm2d,
    convert_batchnorm,
)


def randomized(norm):
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.uniform_(0.5, 1.5)
    return norm


def near_equal_chunks(batch, group_size):
    """Sizes of ceil(batch / group_size) consecutive groups that differ by at most one, larger ones first."""
    groups = -(-batch // group_size)
    return [batch // groups + (index < batch % groups) for index in range(groups)]


@pytest.mark.parametrize(('batch', 'group_size'), [(12, 4), (13, 4), (9, 8), (8, 8), (5, 8), (16, 2)])
@pytest.mark.parametrize('two_d', [False, True])
@pytest.mark.parametrize('momentum', [0.1, None])
def test_ghost_equals_batchnorm_of_each_group(batch, group_size, two_d, momentum):
    torch.manual_seed(0)
    shape = (batch, 3, 4, 2) if two_d else (batch, 3)
    plain, ghost = (nn.BatchNorm2d, GhostBatchNorm2d) if two_d else (nn.BatchNorm1d, GhostBatchNorm1d)
    layer = randomized(ghost(3, group_size, momentum=momentum)).double()
    start = {key: value.clone() for key, value in layer.state_dict().items()}
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(shape, dtype=torch.float64)
    output = layer(x)
    (output * cotangent).sum().backward()
    expected_mean, expected_var, weight_grad, first = 0, 0, 0, 0
    sizes = near_equal_chunks(batch, group_size)
    for size in sizes:
        rows = slice(first, first + size)
        first += size
        reference = plain(3, momentum=1.0).double()
        reference.load_state_dict(start)
        part = x.detach()[rows].requires_grad_()
        result = reference(part)
        (result * cotangent[rows]).sum().backward()
        torch.testing.assert_close(output[rows], result)
        torch.testing.assert_close(x.grad[rows], part.grad)
        weight_grad = weight_grad + reference.weight.grad
        expected_mean = expected_mean + reference.running_mean / len(sizes)
        expected_var = expected_var + reference.running_var / len(sizes)
    step = 1.0 if momentum is None else momentum
    torch.testing.assert_close(layer.weight.grad, weight_grad)
    torch.testing.assert_close(layer.running_mean, (1 - step) * start['running_mean'] + step * expected_mean)
    torch.testing.assert_close(layer.running_var, (1 - step) * start['running_var'] + step * expected_var)
    assert layer.num_batches_tracked == 1


def test_ghost_cumulative_average_without_momentum():
    torch.manual_seed(0)
    ghost, plain = GhostBatchNorm1d(3, 8, momentum=None), nn.BatchNorm1d(3, momentum=None)
    for _ in range(3):
        x = torch.randn(8, 3)
        ghost(x), plain(x)
    torch.testing.assert_close(ghost.running_mean, plain.running_mean)
    torch.testing.assert_close(ghost.running_var, plain.running_var)


@pytest.mark.parametrize('processes', [2, 4])
def test_ghost_result_does_not_depend_on_the_number_of_processes(processes):
    torch.manual_seed(0)
    batches = torch.randn(3, 32, 5)
    one = GhostBatchNorm1d(5, 8)
    several = [GhostBatchNorm1d(5, 8) for _ in range(processes)]
    for batch in batches:
        shares = batch.chunk(processes)
        outputs = [layer(share) for layer, share in zip(several, shares, strict=True)]
        torch.testing.assert_close(one(batch), torch.cat(outputs))
    for buffer in ('running_mean', 'running_var'):
        mean = torch.stack([getattr(layer, buffer) for layer in several]).mean(0)
        torch.testing.assert_close(getattr(one, buffer), mean)


def test_ghost_evaluation_and_state_dict_are_those_of_batchnorm():
    torch.manual_seed(0)
    plain = randomized(nn.BatchNorm2d(3)).eval()
    ghost = GhostBatchNorm2d(3, 4).eval()
    ghost.load_state_dict(plain.state_dict())
    x = torch.randn(10, 3, 4, 2)
    torch.testing.assert_close(ghost(x), plain(x))
    assert ghost.num_batches_tracked == 0


def test_ghost_without_running_statistics():
    torch.manual_seed(0)
    ghost = GhostBatchNorm1d(3, 4, track_running_stats=False)
    plain = nn.BatchNorm1d(3, track_running_stats=False)
    x = torch.randn(8, 3)
    torch.testing.assert_close(ghost(x), torch.cat([plain(x[:4]), plain(x[4:])]))
    torch.testing.assert_close(ghost.eval()(x), plain.eval()(x))


def test_ghost_takes_half_precision_maps():
    torch.manual_seed(0)
    ghost = GhostBatchNorm2d(3, 4)
    x = torch.randn(8, 3, 4, 2)
    output = ghost(x.bfloat16())
    assert output.dtype == torch.bfloat16
    torch.testing.assert_close(output.float(), GhostBatchNorm2d(3, 4)(x), atol=0.05, rtol=0.05)
    assert ghost.running_mean.dtype == torch.float32


def test_ghost_rejects_a_group_of_one_and_wrong_shapes():
    with pytest.raises(ValueError, match='group_size=1'):
        GhostBatchNorm1d(3, 1)
    with pytest.raises(ValueError, match='expected 4D input'):
        GhostBatchNorm2d(3, 4)(torch.zeros(8, 3))


def test_convert_batchnorm_keeps_tensors_names_and_instance_norm():
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), IBN(4), nn.Sequential(nn.BatchNorm2d(4)), nn.Flatten(), nn.BatchNorm1d(8)
    )
    randomized(module[4]).bias.requires_grad_(False)
    before = {key: value.data_ptr() for key, value in module.state_dict().items()}
    parameters = dict(module.named_parameters())
    assert convert_batchnorm(module, 4) is module
    assert {key: value.data_ptr() for key, value in module.state_dict().items()} == before
    assert all(parameters[name] is parameter for name, parameter in module.named_parameters())
    assert type(module[1].IN) is nn.InstanceNorm2d
    assert type(module[1].BN) is GhostBatchNorm2d
    assert type(module[2][0]) is GhostBatchNorm2d
    assert type(module[4]) is GhostBatchNorm1d
    assert not module[4].bias.requires_grad
    assert module[4].weight.requires_grad
    assert convert_batchnorm(module, 6)[4].group_size == 6
    module(torch.randn(12, 3, 2, 1)).sum().backward()


def test_convert_batchnorm_of_the_module_itself_keeps_mode_and_settings():
    converted = convert_batchnorm(nn.BatchNorm1d(4, eps=1e-3, momentum=0.3).eval(), 4)
    assert type(converted) is GhostBatchNorm1d
    assert (converted.eps, converted.momentum, converted.training) == (1e-3, 0.3, False)


def test_convert_batchnorm_keeps_the_activation_of_timm_layers():
    torch.manual_seed(0)
    plain = BatchNormAct2d(3)
    x = torch.randn(8, 3, 2, 2)
    expected = torch.cat([plain(x[:4]), plain(x[4:])])
    assert expected.min() == 0
    torch.testing.assert_close(convert_batchnorm(plain, 4)(x), expected)


def test_convert_batchnorm_rejects_unknown_kinds_and_bad_sizes():
    with pytest.raises(ValueError, match='SyncBatchNorm'):
        convert_batchnorm(nn.Sequential(nn.SyncBatchNorm(3)), 4)
    with pytest.raises(ValueError, match='group_size=0'):
        convert_batchnorm(nn.BatchNorm1d(3), 0)


def test_ibn_normalizes_one_half_per_image_and_the_other_per_batch():
    torch.manual_seed(0)
    layer = IBN(5).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(0.5, 1.5)
    x = torch.randn(3, 5, 4, 2, dtype=torch.float64) * 3 + 1
    output = layer(x)
    for channel in range(5):
        instance = channel < 2
        norm, index = (layer.IN, channel) if instance else (layer.BN, channel - 2)
        for image in range(3):
            values = x[image, channel] if instance else x[:, channel]
            mean, var = values.mean(), values.var(unbiased=False)
            expected = (x[image, channel] - mean) / (var + 1e-5).sqrt() * norm.weight[index] + norm.bias[
                index
            ]
            torch.testing.assert_close(output[image, channel], expected)
    assert set(layer.state_dict()) >= {'IN.weight', 'IN.bias', 'BN.weight', 'BN.bias', 'BN.running_mean'}


def test_gem_is_the_generalized_mean():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 2, dtype=torch.float64)
    output = GeM(p=3.0)(x)
    for image in range(2):
        for channel in range(3):
            cubes = [max(value, 1e-6) ** 3 for value in x[image, channel].flatten().tolist()]
            assert math.isclose(output[image, channel], (sum(cubes) / 8) ** (1 / 3), rel_tol=1e-9)


def test_gem_learns_its_exponent_and_rejects_a_bad_one():
    layer = GeM(p=2.0, learnable=True).double()
    assert list(layer.state_dict()) == ['p']
    x = torch.rand(2, 3, 4, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, p: torch.func.functional_call(layer, {'p': p}, x), (x, layer.p))
    with pytest.raises(ValueError, match='p > 0'):
        GeM(p=0)


def test_gem_does_not_overflow_in_half_precision():
    output = GeM()(torch.full((1, 1, 4, 2), 100.0).half())
    assert output.dtype == torch.float32
    assert output.item() == pytest.approx(100)


def normalized_network():
    torch.manual_seed(0)
    domains = Domains(2)
    domains.of_images = torch.ones(64, dtype=torch.int64)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        GhostBatchNorm2d(6, group_size=8),
        nn.Conv2d(6, 5, 3),
        BatchNormAct2d(5),
        DomainBatchNorm(nn.BatchNorm2d(5), domains),
        GeM(),
        nn.Flatten(),
        nn.BatchNorm1d(5),
        nn.BatchNorm1d(5, track_running_stats=False),
    )
    for layer in network.modules():
        if getattr(layer, 'running_mean', None) is not None:
            randomized(layer)
    return network.double().eval()


def trained_statistics(network, batches):
    """A copy of the network whose running statistics are those of training on the batches alone."""
    network = copy.deepcopy(network)
    for layer in network.modules():
        if getattr(layer, 'running_mean', None) is not None:
            layer.momentum, layer.group_size = None, 64
            layer.reset_running_stats()
    network.train()
    for batch in batches:
        network(batch)
    return network.eval()


@torch.no_grad()
def test_statistics_of_cameras_are_those_of_training_on_their_images():
    network = normalized_network()
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(2, 2, 64, 3, 24, 24, dtype=torch.float64)
    images[1] *= 2
    statistics = CameraStatistics(network, num_cameras=3)
    with statistics.restored():
        for number in (0, 1):
            for camera in (0, 1):
                with statistics.measuring(camera):
                    network(images[camera, number])
        for camera in (0, 1):
            statistics.take(camera)
            expected = trained_statistics(network, images[camera])
            for name, found in network.named_buffers():
                if name.startswith('4.norms.0'):  # of the domain that no image is of
                    assert torch.equal(found, before[name])
                elif 'running' in name:
                    torch.testing.assert_close(
                        found, expected.get_buffer(name), rtol=2e-3, atol=2e-3, msg=name
                    )
        statistics.take(2)
        assert_state(network, before)
        statistics.take(1)
        statistics.take(-1)
        assert_state(network, before)
        statistics.take(0)
    assert_state(network, before)
    with suppress(ZeroDivisionError), statistics.restored():
        statistics.take(0)
        raise ZeroDivisionError
    assert_state(network, before)


def assert_state(network, expected):
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_a_network_without_batchnorm_has_no_statistics_of_cameras():
    with pytest.raises(ValueError, match='Linear has no BatchNorm layer with running statistics'):
        CameraStatistics(nn.Linear(2, 2), 1)
