import pytest
import torch

from glc.models.necks import ReIDNeck
from glc.registry import MODELS


def unit(vector):
    return vector / sum(value**2 for value in vector.tolist()) ** 0.5


def normalize(norm, column, channel):
    """Evaluation formula of one channel of a batch normalization."""
    scale = norm.weight[channel] / (norm.running_var[channel] + norm.eps) ** 0.5
    return (column - norm.running_mean[channel]) * scale


def apply_norm(norm, vector):
    return torch.stack([normalize(norm, vector[channel], channel) for channel in range(len(vector))])


def fused(cls, parts, fusion):
    mean = sum(parts) / len(parts)
    return torch.cat([cls, mean]) if fusion == 'cat' else (cls + mean) / 2


def trained_neck(**kwargs):
    torch.manual_seed(0)
    neck = ReIDNeck(5, **kwargs).double().eval()
    for name, tensor in neck.state_dict().items():
        if name.endswith(('weight', 'running_mean', 'running_var')):
            tensor.uniform_(0.5, 1.5)
    return neck


@pytest.mark.parametrize('num_tokens', [4, 3])
@pytest.mark.parametrize('fusion', ['cat', 'mean'])
@pytest.mark.parametrize('multi', [False, True])
def test_fusion_of_tokens(multi, fusion, num_tokens):
    neck = trained_neck(num_tokens=num_tokens, multi=multi, fusion=fusion)
    tokens = torch.randn(6, num_tokens, 5, dtype=torch.float64)
    output = neck(tokens)
    assert output.shape == (6, neck.out_channels) == (6, 10 if fusion == 'cat' else 5)
    for image, result, before in zip(tokens, output, neck.fuse(tokens), strict=True):
        cls, *parts = image
        torch.testing.assert_close(before, fused(cls, parts, fusion))
        if multi:
            norms = [
                neck.bottleneck,
                neck.bottleneck_pt1,
                neck.bottleneck_pt2,
                getattr(neck, 'bottleneck_pt3', None),
            ]
            cls, *parts = (unit(apply_norm(norm, token)) for norm, token in zip(norms, image, strict=False))
            torch.testing.assert_close(result, unit(fused(cls, parts, fusion)))
            neck.unit = False
            torch.testing.assert_close(neck(image[None])[0], fused(cls, parts, fusion))
            neck.unit = True
        else:
            torch.testing.assert_close(result, unit(apply_norm(neck.bottleneck, fused(cls, parts, fusion))))


def test_only_a_multi_neck_may_leave_out_the_last_norm():
    tokens = torch.randn(6, 4, 5, dtype=torch.float64)
    single, multi = (trained_neck(num_tokens=4, multi=multi, unit=False) for multi in (False, True))
    torch.testing.assert_close(single(tokens).norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert (multi(tokens).norm(dim=1) > 1).all()


@pytest.mark.parametrize('shape', [(6, 5), (6, 1, 5)])
@pytest.mark.parametrize('multi', [False, True])
def test_single_token_is_normalized_alone(shape, multi):
    neck = trained_neck(multi=multi)
    x = torch.randn(shape, dtype=torch.float64)
    for vector, result in zip(x.reshape(6, 5), neck(x), strict=True):
        torch.testing.assert_close(result, unit(apply_norm(neck.bottleneck, vector)))
    torch.testing.assert_close(neck.fuse(x), x.reshape(6, 5))
    assert neck.out_channels == 5


@pytest.mark.parametrize(
    ('pool', 'expected'),
    [
        (None, lambda x: x.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3)),
        ({'type': 'GeM', 'p': 2.0}, lambda x: x.clamp(min=1e-6).square().mean((2, 3)).sqrt()),
        ({'type': 'avg'}, lambda x: x.mean((2, 3))),
        ({'type': 'max'}, lambda x: x.amax((2, 3))),
        ({'type': 'avgmax'}, lambda x: (x.mean((2, 3)) + x.amax((2, 3))) / 2),
    ],
)
def test_maps_are_pooled(pool, expected):
    neck = trained_neck(pool=pool)
    x = torch.rand(6, 5, 4, 2, dtype=torch.float64)
    torch.testing.assert_close(neck.fuse(x), expected(x))
    torch.testing.assert_close(neck(x), neck(expected(x)))


@pytest.mark.parametrize('num_tokens', [1, 4])
@pytest.mark.parametrize('bias', [True, False])
def test_embedding_before_batch_normalization(bias, num_tokens):
    neck = trained_neck(num_tokens=num_tokens, embed_channels=3, embed_bias=bias)
    x = torch.randn(6, num_tokens, 5, dtype=torch.float64)
    assert neck.out_channels == 3
    assert (neck.embedding.bias is not None) == bias
    for image, before, after, result in zip(x, neck.fuse(x), neck.batch_norm(x), neck(x), strict=True):
        cls, *parts = image
        fed = fused(cls, parts, 'cat') if parts else cls
        rows = [sum(w * v for w, v in zip(row, fed, strict=True)) for row in neck.embedding.weight]
        expected = torch.stack(rows) + (neck.embedding.bias if bias else 0)
        torch.testing.assert_close(before, expected)
        torch.testing.assert_close(after, apply_norm(neck.bottleneck, expected))
        torch.testing.assert_close(result, unit(after))


def test_embedding_starts_as_published():
    torch.manual_seed(0)
    first, second = (ReIDNeck(800, embed_channels=500, embed_bias=bias).embedding for bias in (True, False))
    assert float(first.weight.detach().std()) == pytest.approx(
        (2 / 500) ** 0.5, rel=0.01
    )  # kaiming_normal_, fan_out
    assert first.bias.eq(0).all()
    assert float(second.weight.detach().abs().max()) == pytest.approx(
        (6 / 1300) ** 0.5, rel=0.01
    )  # xavier_uniform_


@pytest.mark.parametrize('kwargs', [{}, {'multi': True}, {'fusion': 'branches'}])
def test_dropout_after_batch_normalization_in_training(kwargs):
    tokens = torch.randn(6, 4, 5, dtype=torch.float64)
    dropped, plain = trained_neck(num_tokens=4, dropout=0.5, **kwargs), trained_neck(num_tokens=4, **kwargs)
    assert torch.equal(dropped(tokens), plain(tokens)), 'none in evaluation'
    before = dropped.for_losses(tokens)[0]
    dropped.train(), plain.train()
    assert torch.equal(dropped.for_losses(tokens)[0], before), 'none before the normalization'
    after = dropped.for_losses(tokens)[1]
    kept = after != 0
    assert 0.3 < kept.double().mean() < 0.7
    torch.testing.assert_close(after[kept], 2 * plain.for_losses(tokens)[1][kept])
    kept = dropped(tokens) != 0
    assert 0.3 < kept.double().mean() < 0.7


def test_branches_are_normalized_apart_and_weigh_as_much_as_the_global_one():
    neck = trained_neck(num_tokens=3, fusion='branches')
    tokens = torch.randn(6, 3, 5, dtype=torch.float64)
    norms = [neck.bottleneck, neck.bottleneck_pt1, neck.bottleneck_pt2]
    before, after = neck.for_losses(tokens)
    assert torch.equal(before, tokens)
    for image, plain, normed, result in zip(tokens, neck.fuse(tokens), after, neck(tokens), strict=True):
        torch.testing.assert_close(plain, torch.cat([image[0], image[1] / 2, image[2] / 2]))
        expected = [apply_norm(norm, token) for norm, token in zip(norms, image, strict=True)]
        torch.testing.assert_close(normed, torch.stack(expected))
        torch.testing.assert_close(result, unit(torch.cat([expected[0], expected[1] / 2, expected[2] / 2])))
    assert neck.out_channels == 15


def test_parameter_names_and_frozen_bias():
    neck = ReIDNeck(5, num_tokens=4, multi=True)
    names = {name.split('.')[0] for name, _ in neck.named_parameters()}
    assert names == {'bottleneck', 'bottleneck_pt1', 'bottleneck_pt2', 'bottleneck_pt3'}
    trained = {name for name, parameter in neck.named_parameters() if parameter.requires_grad}
    assert trained == {f'{name}.weight' for name in names}
    neck(torch.randn(6, 4, 5))[:, 0].sum().backward()
    assert all(
        getattr(neck, name).bias.eq(0).all() and getattr(neck, name).bias.grad is None for name in names
    )
    assert ReIDNeck(5, pool={'type': 'GeM', 'learnable': True}).pool.p.requires_grad


def test_built_by_name():
    neck = MODELS.build({'type': 'ReIDNeck', 'in_channels': 5, 'num_tokens': 4, 'fusion': 'mean'})
    torch.testing.assert_close(neck(torch.randn(6, 4, 5)).norm(dim=1), torch.ones(6))


@pytest.mark.parametrize('shape', [(6, 1, 5), (6, 4, 7), (6, 5), (6, 5, 4, 2), (6,)])
def test_wrong_shapes_are_named(shape):
    with pytest.raises(ValueError, match=r'num_tokens=4 and in_channels=5.*out_channels'):
        ReIDNeck(5, num_tokens=4)(torch.zeros(shape))


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'fusion': 'sum'}, "fusion must be 'cat', 'mean' or 'branches', got 'sum'"),
        ({'embed_channels': 0}, 'embed_channels must be at least 1'),
        (
            {'embed_channels': 3, 'num_tokens': 4, 'multi': True},
            'a neck with one normalization only.*multi=True',
        ),
        ({'embed_channels': 3, 'num_tokens': 4, 'fusion': 'branches'}, "fusion='branches'"),
        ({'num_tokens': 0}, 'num_tokens must be at least 1'),
        ({'pool': {'type': 'min'}}, "pool type must be 'GeM', 'avg', 'max' or 'avgmax', got 'min'"),
    ],
)
def test_wrong_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ReIDNeck(5, **kwargs)
