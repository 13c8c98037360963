import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from mmengine.config import Config
from mmengine.model import BaseModule
from scipy import stats
from torch import nn

from glc.models.backbones import BaseBackbone, OSNet, PASSViT, ResNet, TimmBackbone
from glc.models.layers import IBN
from glc.registry import MODELS
from tests.utils import shared_data

TINY = {'dim': 24, 'depth': 4, 'heads': 3}
MODEL_CONFIGS = sorted(
    path
    for path in Path(__file__).parents[2].glob('configs/_base_/models/*.py')
    if not path.stem.startswith('pass_pretraining')
)


def randomized(module):
    """Random weights and statistics of a moderate size, so that every tensor matters to the output."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith('running_var'):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            fan_in = tensor[0].numel() if tensor.dim() > 1 else 25
            tensor.normal_(std=fan_in**-0.5)
            if tensor.dim() == 1 and name.endswith('weight'):
                tensor.add_(1)
    return module


class Weights:
    """State dict with a naive implementation of each kind of layer."""

    def __init__(self, module):
        self.state = module.state_dict()

    def __getitem__(self, name):
        return self.state[name]

    def conv(self, name, x, **kwargs):
        return F.conv2d(x, self[f'{name}.weight'], self.state.get(f'{name}.bias'), **kwargs)

    def batch_norm(self, name, x):
        shape = (1, -1, *[1] * (x.dim() - 2))
        mean, var, weight, bias = (
            self[f'{name}.{part}'].reshape(shape)
            for part in ('running_mean', 'running_var', 'weight', 'bias')
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def linear(self, name, x):
        return x @ self[f'{name}.weight'].T + self[f'{name}.bias']

    def layer_norm(self, name, x):
        x = x - x.mean(-1, keepdim=True)
        return (
            x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self[f'{name}.weight']
            + self[f'{name}.bias']
        )

    def ibn(self, name, x):
        half = len(self[f'{name}.IN.weight'])
        x, rest = x[:, :half], self.batch_norm(f'{name}.BN', x[:, half:])
        x = x - x.mean((2, 3), keepdim=True)
        x = x / (x.square().mean((2, 3), keepdim=True) + 1e-5).sqrt()
        weight, bias = (self[f'{name}.IN.{part}'].reshape(1, -1, 1, 1) for part in ('weight', 'bias'))
        return torch.cat([x * weight + bias, rest], 1)


# ---------------------------------------------------------------- PASS ViT


def vit_forward(model, images, heads, patch, stem, parts):
    """Plain matrix implementation of the ViT with published parameter names; no overlap of the patches.

    Returns the tokens, and the attention (B, 1 + P + N, 1 + P + N) of the last block, the mean over the heads.
    """
    w = Weights(model)
    if stem == 'ics':
        images = w.ibn('patch_embed.conv.1', w.conv('patch_embed.conv.0', images, stride=2, padding=3)).relu()
        images = w.ibn('patch_embed.conv.4', w.conv('patch_embed.conv.3', images, padding=1)).relu()
        images = w.batch_norm('patch_embed.conv.7', w.conv('patch_embed.conv.6', images, padding=1)).relu()
        patch //= 2
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, height // patch, patch, width // patch, patch)
    patches = grid.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch * patch)
    x = patches @ w['patch_embed.proj.weight'].flatten(1).T + w['patch_embed.proj.bias'] + w['pos_embed']
    tokens = [w['cls_token'] + w['cls_pos']]
    tokens += [w[f'part_token{part}'] + w[f'part{part}_pos'] for part in range(1, parts + 1)]
    x = torch.cat([*(token.expand(batch, 1, -1) for token in tokens), x], 1)
    depth = len(model.blocks)
    dim = x.shape[2]
    for index in range(depth):
        block = f'blocks.{index}'
        qkv = w.linear(f'{block}.attn.qkv', w.layer_norm(f'{block}.norm1', x))
        heads_out, attention = [], 0
        for head in range(heads):
            columns = slice(head * dim // heads, (head + 1) * dim // heads)
            query, key, value = (part[..., columns] for part in qkv.split(dim, -1))
            scores = query @ key.transpose(1, 2) / (dim // heads) ** 0.5
            weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
            attention = attention + weights / heads
            heads_out.append(weights @ value)
        x = x + w.linear(f'{block}.attn.proj', torch.cat(heads_out, -1))
        hidden = w.linear(f'{block}.mlp.fc1', w.layer_norm(f'{block}.norm2', x))
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
        x = x + w.linear(f'{block}.mlp.fc2', hidden)
    return w.layer_norm('norm', x)[:, : parts + 1], attention


@pytest.mark.parametrize('parts', [3, 0])
@pytest.mark.parametrize('stem', ['patch', 'ics'])
def test_pass_vit_forward(stem, parts):
    model = PASSViT(TINY, img_size=(64, 32), num_part_tokens=parts, stem=stem, drop_path_rate=0.3)
    randomized(model).double().eval()
    images = torch.randn(2, 3, 64, 32, dtype=torch.float64)
    output = model(images)
    assert output.shape == (2, 1 + parts, 24) == (2, model.num_tokens, model.out_channels)
    expected, attention = vit_forward(model, images, heads=3, patch=16, stem=stem, parts=parts)
    torch.testing.assert_close(output, expected, atol=1e-9, rtol=1e-9)
    maps = model.attention_maps(images)
    assert list(maps) == ['cls', 'part 1', 'part 2', 'part 3'][: 1 + parts]
    for token, found in enumerate(maps.values()):
        assert found.shape == (2, 4, 2)
        torch.testing.assert_close(found.flatten(1), attention[:, token, 1 + parts :], atol=1e-9, rtol=1e-9)


def test_activation_maps_of_convolutional_networks():
    images = torch.randn(2, 3, 64, 32)
    osnet = randomized(OSNet('x0_25')).eval()
    (found,) = osnet.attention_maps(images).values()
    seen = []
    osnet.conv5.register_forward_hook(lambda module, inputs, output: seen.append(output))
    osnet(images)
    torch.testing.assert_close(found, seen[0].mean(1))
    resnet = ResNet(18).eval()
    torch.testing.assert_close(resnet.attention_maps(images)['activation'], resnet(images).mean(1))
    with pytest.raises(TypeError, match='Flat gives no map'):
        Flat().attention_maps(images)


class Flat(BaseBackbone):
    def forward(self, inputs):
        return inputs.flatten(1)


def cubic_matrix(old, new):
    """Weights (new, old) of a cubic convolution with a = -0.75 and clamped edges, for a size of new + 0.1."""
    weights = np.zeros((new, old))
    for row in range(new):
        place = (row + 0.5) * old / (new + 0.1) - 0.5
        for column in range(math.floor(place) - 1, math.floor(place) + 3):
            t = abs(place - column)
            near, far = 1.25 * t**3 - 2.25 * t**2 + 1, -0.75 * (t**3 - 5 * t**2 + 8 * t - 4)
            weights[row, min(max(column, 0), old - 1)] += near if t <= 1 else far
    return torch.from_numpy(weights)


def resized_positions(embed, old, new):
    """Position embeddings (1, N', D) as DINO resizes those of another grid."""
    rows, columns = (cubic_matrix(*sizes) for sizes in zip(old, new, strict=True))
    grid = embed.unflatten(1, old)[0]
    return torch.einsum('ri,cj,ijd->rcd', rows, columns, grid).flatten(0, 1)[None]


def test_pass_vit_crops_of_its_own_size_have_resized_positions_too():
    model = randomized(PASSViT(TINY, img_size=(128, 64))).double().eval()
    crops = torch.randn(2, 3, 128, 64, dtype=torch.float64)
    outputs = model.forward_crops(crops)
    plain = model(crops)
    with torch.no_grad():
        model.pos_embed.copy_(resized_positions(model.pos_embed, (8, 4), (8, 4)))
    torch.testing.assert_close(outputs, model(crops))
    assert not torch.allclose(outputs, plain, atol=1e-3)


def test_pass_vit_starts_as_published():
    torch.manual_seed(0)
    model = PASSViT('small')
    assert not model.cls_pos.any()
    assert model.part1_pos.std().item() == pytest.approx(0.02, rel=0.15)
    # torch's default of a convolution: uniform up to 1 / sqrt(3 * 16 * 16), a standard deviation of 0.0208
    assert model.patch_embed.proj.weight.abs().max() <= 768**-0.5
    assert model.patch_embed.proj.weight.std().item() == pytest.approx(0.0208, rel=0.01)


@pytest.mark.parametrize('stem', ['patch', 'ics'])
def test_pass_vit_crops_of_parts_run_with_the_token_of_their_part(stem):
    model = PASSViT(TINY, img_size=(128, 64), num_part_tokens=3, stem=stem)
    randomized(model).double().eval()
    crops = torch.randn(3, 2, 3, 48, 32, dtype=torch.float64)
    outputs = model.forward_parts(crops)
    assert outputs.shape == (3, 2, 2, 24)
    state = model.state_dict()
    state['pos_embed'] = resized_positions(state['pos_embed'], (8, 4), (3, 2))
    for part in range(1, 4):
        small = PASSViT(TINY, img_size=(48, 32), num_part_tokens=1, stem=stem).double().eval()
        own = {**state, 'part_token1': state[f'part_token{part}'], 'part1_pos': state[f'part{part}_pos']}
        small.load_state_dict({name: own[name] for name in small.state_dict()})
        expected, _ = vit_forward(small, crops[part - 1], heads=3, patch=16, stem=stem, parts=1)
        torch.testing.assert_close(outputs[part - 1], expected)


def test_pass_vit_wrong_crops():
    model = PASSViT(TINY, img_size=(64, 32))
    with pytest.raises(ValueError, match='crops of 2 parts for a model of 3 part tokens'):
        model.forward_parts(torch.zeros(2, 1, 3, 32, 16))
    with pytest.raises(ValueError, match='smaller than a patch of 16'):
        model.forward_parts(torch.zeros(3, 1, 3, 32, 8))


def vit_names(depth, parts=3, stem='patch'):
    """The published parameter names."""
    names = {'cls_token', 'cls_pos', 'pos_embed', 'norm.weight', 'norm.bias'}
    names |= {f'part_token{part}' for part in range(1, parts + 1)} | {
        f'part{part}_pos' for part in range(1, parts + 1)
    }
    names |= {'patch_embed.proj.weight', 'patch_embed.proj.bias'}
    for index in range(depth):
        for layer in ('norm1', 'attn.qkv', 'attn.proj', 'norm2', 'mlp.fc1', 'mlp.fc2'):
            names |= {f'blocks.{index}.{layer}.weight', f'blocks.{index}.{layer}.bias'}
    if stem == 'ics':
        statistics = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
        names |= {f'patch_embed.conv.{index}.weight' for index in (0, 3, 6)}
        names |= {f'patch_embed.conv.{index}.IN.{part}' for index in (1, 4) for part in ('weight', 'bias')}
        names |= {f'patch_embed.conv.{index}.BN.{part}' for index in (1, 4) for part in statistics}
        names |= {f'patch_embed.conv.7.{part}' for part in statistics}
    return names


@pytest.mark.slow
@pytest.mark.parametrize(('arch', 'dim', 'parameters'), [('small', 384, 21.6e6), ('base', 768, 85.7e6)])
@pytest.mark.parametrize('parts', [3, 0])
@pytest.mark.parametrize('stem', ['patch', 'ics'])
def test_pass_vit_names_and_shapes(arch, dim, parameters, parts, stem):
    with torch.device('meta'):
        model = PASSViT(arch, num_part_tokens=parts, stem=stem)
    state = model.state_dict()
    assert set(state) == vit_names(12, parts, stem)
    assert state['pos_embed'].shape == (1, 128, dim)
    assert state['patch_embed.proj.weight'].shape == ((dim, 64, 8, 8) if stem == 'ics' else (dim, 3, 16, 16))
    assert state['blocks.11.attn.qkv.weight'].shape == (3 * dim, dim)
    assert state['blocks.11.mlp.fc1.weight'].shape == (4 * dim, dim)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(
        parameters, rel=0.12 if stem == 'ics' else 0.01
    )


def test_pass_vit_overlapping_patches_and_drop_path():
    model = PASSViT(TINY, img_size=(64, 32), stride=12, drop_path_rate=0.3)
    assert model.pos_embed.shape == (1, 5 * 2, 24)
    assert model(torch.zeros(1, 3, 64, 32)).shape == (1, 4, 24)
    rates = [getattr(block.drop_path1, 'drop_prob', 0.0) for block in model.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])
    assert PASSViT(TINY, img_size=(64, 32), stem='ics', stride=12).pos_embed.shape == (1, 5 * 2, 24)


def test_pass_vit_random_start_is_seeded():
    def build(seed):
        torch.manual_seed(seed)
        model = PASSViT(TINY, img_size=(64, 32), stem='ics')
        model.init_weights()
        return model.state_dict()

    first, again, other = build(0), build(0), build(1)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first['part_token1'], other['part_token1'])
    for name in ('pos_embed', 'blocks.2.mlp.fc1.weight'):
        assert first[name].std() == pytest.approx(0.02, rel=0.2)
    for name in ('cls_token', 'part_token2', 'part3_pos'):
        assert 0.01 < first[name].std() < 0.03
    assert first['blocks.2.mlp.fc1.bias'].abs().max() == 0


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        ({'arch': 'large'}, "arch must be one of tiny, small, base or a dict, got 'large'"),
        ({'arch': {'dim': 24, 'depth': 4, 'heads': 5}}, 'dim=24 is not divisible by heads=5'),
        ({'stem': 'conv'}, "stem must be 'patch' or 'ics', got 'conv'"),
        ({'arch': TINY, 'img_size': (8, 32)}, r'img_size=\(8, 32\) is smaller than a patch'),
        ({'arch': TINY, 'stem': 'ics', 'stride': 15}, 'ICS stem needs even'),
    ],
)
def test_pass_vit_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        PASSViT(**kwargs)


def test_pass_vit_wrong_image_size():
    model = PASSViT(TINY, img_size=(64, 32))
    with pytest.raises(ValueError, match=r'img_size=\(64, 32\).*32 x 64'):
        model(torch.zeros(1, 3, 32, 64))


# ---------------------------------------------------------------- ResNet


def resnet_names(blocks, ibn):
    """Names of torchvision's ResNet and, with IBN, of the public IBN-Net weights, without the classifier."""
    statistics = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    names = {'conv1.weight'} | {f'bn1.{part}' for part in statistics}
    for layer, count in enumerate(blocks, start=1):
        for index in range(count):
            block = f'layer{layer}.{index}'
            names |= {f'{block}.conv{conv}.weight' for conv in (1, 2, 3)}
            names |= {f'{block}.bn{norm}.{part}' for norm in (2, 3) for part in statistics}
            if ibn and layer < 4:
                names |= {f'{block}.bn1.IN.weight', f'{block}.bn1.IN.bias'}
                names |= {f'{block}.bn1.BN.{part}' for part in statistics}
            else:
                names |= {f'{block}.bn1.{part}' for part in statistics}
        names |= {f'layer{layer}.0.downsample.0.weight'}
        names |= {f'layer{layer}.0.downsample.1.{part}' for part in statistics}
    return names


@pytest.mark.slow
@pytest.mark.parametrize(('depth', 'blocks'), [(50, (3, 4, 6, 3)), (101, (3, 4, 23, 3))])
@pytest.mark.parametrize('ibn', [False, True])
def test_resnet_names_and_last_stride(depth, blocks, ibn):
    with torch.device('meta'):
        model, published = ResNet(depth, ibn=ibn), getattr(torchvision.models, f'resnet{depth}')()
        output = model(torch.zeros(2, 3, 256, 128))
    assert output.shape == (2, 2048, 16, 8)
    assert model.out_channels == 2048
    state = model.state_dict()
    assert set(state) == resnet_names(blocks, ibn)
    shapes = {
        name: value.shape for name, value in published.state_dict().items() if not name.startswith('fc.')
    }
    assert {name: state[name].shape for name in shapes if name in state} == {
        name: shape for name, shape in shapes.items() if name in state
    }
    assert ibn or set(shapes) == set(state)
    assert not ibn or state['layer3.0.bn1.IN.weight'].shape == state['layer3.0.bn1.BN.weight'].shape == (128,)


def test_resnet_computes_what_torchvision_computes(monkeypatch):
    monkeypatch.setitem(ResNet.depths, 50, [1, 2, 1, 1])
    reference = torchvision.models.resnet.ResNet(
        torchvision.models.resnet.Bottleneck, [1, 2, 1, 1], num_classes=1
    )
    randomized(reference).eval()
    model = ResNet(50, last_stride=2).eval()
    model.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith('fc.')})
    images = torch.randn(2, 3, 64, 32)
    pooled = model(images).mean((2, 3))
    torch.testing.assert_close(pooled @ reference.fc.weight.T + reference.fc.bias, reference(images))


def test_resnet_ibn_is_the_first_norm_of_the_first_three_stages():
    with torch.device('meta'):
        model = ResNet(50, ibn=True)
    for name, module in model.named_modules():
        wanted = name.endswith('.bn1') and name.startswith(('layer1', 'layer2', 'layer3'))
        assert isinstance(module, IBN) == wanted, name


@pytest.mark.parametrize('depth', [18, 34, pytest.param(152, marks=pytest.mark.slow)])
def test_resnet_of_other_depths_computes_what_torchvision_computes(depth):
    reference = getattr(torchvision.models, f'resnet{depth}')(num_classes=2).eval()
    model = ResNet(depth, last_stride=2).eval()
    model.load_state_dict({k: v for k, v in reference.state_dict().items() if not k.startswith('fc.')})
    images = torch.randn(1, 3, 64, 32)
    output = model(images)
    assert output.shape == (1, model.out_channels, 2, 1)
    torch.testing.assert_close(reference.fc(output.mean((2, 3))), reference(images))
    with torch.device('meta'):
        assert ResNet(depth)(torch.zeros(1, 3, 64, 32)).shape == (1, model.out_channels, 4, 2)


def test_resnet_wrong_arguments():
    with pytest.raises(ValueError, match='50, 101, 152, got 20'):
        ResNet(20)
    with pytest.raises(ValueError, match='last_stride must be 1 or 2, got 3'):
        ResNet(50, last_stride=3)


# ---------------------------------------------------------------- OSNet


def osnet_forward(model, images):
    """Naive OSNet on torchreid's parameter names."""
    w = Weights(model)

    def conv_norm(name, x, **kwargs):
        return w.batch_norm(f'{name}.bn', w.conv(f'{name}.conv', x, **kwargs))

    def light(name, x):
        x = w.conv(f'{name}.conv1', x)
        return w.batch_norm(f'{name}.bn', w.conv(f'{name}.conv2', x, padding=1, groups=x.shape[1])).relu()

    def block(name, x):
        start = conv_norm(f'{name}.conv1', x).relu()
        total = 0
        for stream, length in (('conv2a', 1), ('conv2b', 2), ('conv2c', 3), ('conv2d', 4)):
            y = start
            for index in range(length):
                y = light(f'{name}.{stream}' if length == 1 else f'{name}.{stream}.{index}', y)
            gate = w.conv(f'{name}.gate.fc1', y.mean((2, 3), keepdim=True)).relu()
            total = total + y / (1 + (-w.conv(f'{name}.gate.fc2', gate)).exp())
        y = conv_norm(f'{name}.conv3', total)
        shortcut = conv_norm(f'{name}.downsample', x) if f'{name}.downsample.conv.weight' in w.state else x
        return (y + shortcut).relu()

    x = F.max_pool2d(conv_norm('conv1', images, stride=2, padding=3).relu(), 3, 2, 1)
    for stage in ('conv2', 'conv3', 'conv4'):
        x = block(f'{stage}.1', block(f'{stage}.0', x))
        if stage != 'conv4':
            x = F.avg_pool2d(conv_norm(f'{stage}.2.0', x).relu(), 2)
    x = conv_norm('conv5', x).relu().mean((2, 3))
    return w.batch_norm('fc.1', w.linear('fc.0', x)).relu()


def test_osnet_forward():
    model = randomized(OSNet('x0_25')).double().eval()
    images = torch.randn(2, 3, 32, 16, dtype=torch.float64)
    output = model(images)
    assert output.shape == (2, 512)
    assert output.abs().max() > 0.1
    torch.testing.assert_close(output, osnet_forward(model, images), atol=1e-9, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('width', 'millions'), [('x1_0', 2.2), ('x0_75', 1.3), ('x0_5', 0.6), ('x0_25', 0.2)]
)
def test_osnet_widths_have_the_published_size(width, millions):
    with torch.device('meta'):
        model = OSNet(width)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == millions


def test_osnet_starts_from_kaiming_normal_weights():
    """Convolutions: normal with variance 2 / (outputs x area of the kernel); linear layer: normal with 0.01."""
    torch.manual_seed(0)
    model = OSNet('x0_25')
    modules = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    standardized = []
    for module in modules:
        weight = module.weight.detach().flatten()
        linear = isinstance(module, nn.Linear)
        variance = 1e-4 if linear else 2 / (module.out_channels * module.kernel_size[0] ** 2)
        standardized.append(weight / variance**0.5)
        # The sum of n squares of normal numbers has mean n and variance 2n.
        count = len(weight)
        assert abs(standardized[-1].square().sum() - count) < 5 * (2 * count) ** 0.5
        assert module.bias is None or not module.bias.any()
    assert sum(isinstance(module, nn.Linear) for module in modules) == 1
    assert (
        sum(module.bias is not None for module in modules) == 13
    )  # two of each of six gates, and the linear one
    assert stats.kstest(torch.cat(standardized).numpy(), 'norm').pvalue > 0.01


def test_osnet_unknown_width():
    with pytest.raises(ValueError, match="x1_0, x0_75, x0_5, x0_25, got 'x2_0'"):
        OSNet('x2_0')


def test_osnet_loads_the_given_weights():
    path = shared_data('weights/osnet_x0_25_msmt17.pth')
    model = OSNet('x0_25', init_cfg={'type': 'Pretrained', 'checkpoint': str(path)}).eval()
    model.init_weights()
    report = model.load_report
    assert report.fraction == 1
    assert not report.unexpected
    assert set(torch.load(path, weights_only=True)) - {'classifier.weight', 'classifier.bias'} == set(
        model.state_dict()
    )
    images = torch.randn(2, 3, 64, 32)
    output = model(images)
    expected = osnet_forward(model.double(), images.double()).float()
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- timm


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'kwargs', 'shape'),
    [
        ('resnet18', {}, (2, 512, 2, 1)),
        ('tf_efficientnet_lite0', {}, (2, 1280, 2, 1)),
        ('mobilenetv3_small_050', {}, (2, 1024, 2, 1)),
        ('vit_tiny_patch16_224', {'img_size': (64, 32), 'depth': 2}, (2, 1, 192)),
        ('mixer_s32_224', {'img_size': (64, 32)}, (2, 1, 512)),
        ('swin_tiny_patch4_window7_224', {'img_size': (64, 32), 'depths': (1, 1, 1, 1)}, (2, 768, 2, 1)),
    ],
)
def test_timm_shapes(name, kwargs, shape):
    model = TimmBackbone(name, **kwargs).eval()
    output = model(torch.randn(2, 3, 64, 32))
    assert output.shape == shape
    assert model.out_channels == shape[2 if len(shape) == 3 else 1]


def test_timm_token_is_the_class_token_or_the_mean():
    vit = TimmBackbone('vit_tiny_patch16_224', img_size=(64, 32), depth=2).eval()
    mixer = TimmBackbone('mixer_s32_224', img_size=(64, 32)).eval()
    images = torch.randn(2, 3, 64, 32)
    torch.testing.assert_close(vit(images)[:, 0], vit.model.forward_features(images)[:, 0])
    torch.testing.assert_close(mixer(images)[:, 0], mixer.model.forward_features(images).mean(1))


def test_timm_unknown_name_suggests_the_closest():
    with pytest.raises(ValueError, match="no model 'resnet_50': did you mean 'resnet50'"):
        TimmBackbone('resnet_50')
    with pytest.raises(ValueError, match=r'see timm.list_models\(\)'):
        TimmBackbone('@@@@')


def test_timm_hints_at_img_size():
    model = TimmBackbone('vit_tiny_patch16_224', depth=1)
    with pytest.raises(ValueError, match=r'64 x 32.*img_size=\(64, 32\)'):
        model(torch.zeros(1, 3, 64, 32))
    with pytest.raises(ValueError, match="'efficientvit_b0' has no form without pooling"):
        TimmBackbone('efficientvit_b0')


def test_timm_loads_timm_checkpoints_and_resizes_positions(tmp_path):
    source = timm.create_model('vit_tiny_patch16_224', depth=2, num_classes=10)
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    init_cfg = {'type': 'Pretrained', 'checkpoint': str(tmp_path / 'vit.pth')}
    model = TimmBackbone('vit_tiny_patch16_224', img_size=(256, 128), depth=2, init_cfg=init_cfg)
    model.init_weights()
    assert model.load_report.fraction == 1
    assert model.load_report.dropped == ('head.weight', 'head.bias')
    own, old = model.model.pos_embed, source.pos_embed
    torch.testing.assert_close(own[:, :1], old[:, :1])
    expected = F.interpolate(
        old[:, 1:].reshape(1, 14, 14, -1).permute(0, 3, 1, 2), size=(16, 8), mode='bilinear'
    )
    torch.testing.assert_close(own[:, 1:], expected.permute(0, 2, 3, 1).flatten(1, 2))
    torch.save(
        {'state_dict': {f'backbone.{k}': v for k, v in model.state_dict().items()}}, tmp_path / 'vit.pth'
    )
    model.init_weights()
    assert model.load_report.fraction == 1


# ---------------------------------------------------------------- all


class Tiny(BaseBackbone):
    out_channels = 2

    def __init__(self, init_cfg=None):
        super().__init__(init_cfg)
        self.conv = nn.Conv2d(3, 2, 1)

    def forward(self, inputs):
        return self.conv(inputs)


def test_init_weights_inside_a_model(tmp_path):
    class Model(BaseModule):
        def __init__(self, **kwargs):
            super().__init__()
            self.backbone = Tiny(**kwargs)

    source = Tiny()
    torch.save(source.state_dict(), tmp_path / 'tiny.pth')
    model = Model(init_cfg={'type': 'Pretrained', 'checkpoint': str(tmp_path / 'tiny.pth')})
    model.init_weights()
    torch.testing.assert_close(model.backbone.state_dict(), source.state_dict())
    assert model.backbone.is_init
    model = Model()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.init_weights()
    torch.testing.assert_close(model.state_dict(), before)
    model = Model(init_cfg={'type': 'Constant', 'layer': 'Conv2d', 'val': 3.0})
    model.init_weights()
    assert model.backbone.conv.weight.eq(3).all()


def test_init_cfg_with_unknown_key(tmp_path):
    with pytest.raises(TypeError, match='map_location'):
        Tiny({'type': 'Pretrained', 'checkpoint': 'x.pth', 'map_location': 'cpu'}).init_weights()


@pytest.mark.slow
@pytest.mark.parametrize('path', MODEL_CONFIGS, ids=lambda path: path.stem)
def test_model_configs_fit_together(path):
    model = Config.fromfile(path).model
    with torch.device('meta'):
        backbone, neck = MODELS.build(model.backbone), MODELS.build(model.neck)
        features = neck(backbone(torch.zeros(4, 3, *model.backbone.get('img_size', (256, 128)))))
    assert neck.in_channels == backbone.out_channels
    assert neck.num_tokens == backbone.num_tokens
    assert features.shape == (4, neck.out_channels)
    if not path.stem.startswith('resnet10_small'):  # trained from random weights
        assert model.backbone.init_cfg.checkpoint.startswith('pretrained/')
    to_one = isinstance(backbone, PASSViT) or path.stem == 'efficientnet_lite0'  # images in [-1, 1]
    assert model.data_preprocessor.mean == ([127.5] * 3 if to_one else [123.675, 116.28, 103.53])
    assert model.data_preprocessor.std == ([127.5] * 3 if to_one else [58.395, 57.12, 57.375])
