"""Published layouts, made here key by key, against the networks that they come from."""

import argparse

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from glc.checkpoints import (
    LoadReport,
    convert_state_dict,
    load_backbone_checkpoint,
    load_link_predictor,
    load_model_checkpoint,
    recognize_layout,
    rename_keys,
)
from glc.core.correctors import GLC
from glc.core.correctors.link_network import LinkPredictor
from glc.models import UnsupervisedReID  # noqa: F401
from glc.models.backbones import OSNet, PASSViT, ResNet
from glc.registry import MODELS
from tests.published import (
    ARCH,
    DEPTH,
    DIM,
    HEADS,
    ClusterContrastResNet,
    PersonNeck,
    PersonViT,
    bottleneck_resnet,
    randomize,
    trained,
    vit_config,
)
from tests.test_checkpoints.test_loading import bilinear
from tests.utils import shared_data


@pytest.fixture
def save(tmp_path):
    def call(content, name='published.pth.tar'):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return call


@pytest.fixture
def one_block(monkeypatch):
    monkeypatch.setitem(ResNet.depths, 50, [1, 1, 1, 1])


def resnet_config(ibn=False, **pool):
    return dict(
        type='UnsupervisedReID',
        backbone=dict(type='ResNet', depth=50, ibn=ibn),
        neck=dict(type='ReIDNeck', in_channels=2048, pool=pool),
        head=dict(type='ContrastHead', memory=dict(type='ClusterMemory')),
    )


def assert_same_features(model, features, size=(64, 32)):
    images = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = F.normalize(features(images))
        torch.testing.assert_close(model.eval().extract_feat(images), expected, atol=2e-5, rtol=1e-4)
        assert (expected[0] - expected[1]).norm() > 0.05


class Merged(nn.Module):
    """Network and neck in one module, as the USL programs have it: ``net.X`` is saved as ``X``."""

    def __init__(self, net, neck):
        super().__init__()
        self.net, self.neck = net, neck

    def forward(self, images):
        return self.neck(self.net(images))

    def state_dict(self):
        return {**self.net.state_dict(), **self.neck.state_dict()}


# ---------------------------------------------------------------- whole models


@pytest.mark.parametrize(
    ('parts', 'multi', 'fusion', 'stem'),
    [
        (3, False, 'cat', 'patch'),
        (3, False, 'mean', 'patch'),
        (3, True, 'mean', 'patch'),
        (3, True, 'cat', 'ics'),
        (0, False, 'cat', 'patch'),
        (0, False, 'cat', 'ics'),
    ],
)
def test_usl_and_uda_vits(save, parts, multi, fusion, stem):
    source = randomize(Merged(PersonViT(parts, stem), PersonNeck(parts, multi, fusion)))
    path = save(trained(source))
    model = MODELS.build(vit_config(parts, multi, fusion, stem=stem))
    report = load_model_checkpoint(model, path)
    assert (report.layout, report.fraction) == ('reid_vit', 1)
    assert (report.unexpected, report.dropped) == ((), ())
    assert report.resized == (
        () if parts else ('backbone.pos_embed (1, 9, 24) -> (1, 8, 24)',)
    )  # no class token
    assert 'neck.bottleneck.weight' in report.renamed
    assert report.sources['neck.bottleneck.weight'] == 'module.bottleneck.weight'
    assert not multi or report.sources['neck.bottleneck_pt3.bias'] == 'module.bottleneck_pt3.bias'
    assert_same_features(model, source)


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_source_vit_trained_with_labels(save, prefix):
    vit, neck = randomize(PersonViT()), randomize(PersonNeck(3, True, 'cat', 'bottleneck_{}'), 1)
    state = {f'base.{key}': value for key, value in vit.state_dict().items()}
    state |= {'base.fc.weight': torch.zeros(1000, DIM), 'base.fc.bias': torch.zeros(1000)}
    state |= {**neck.state_dict(), 'classifier.weight': torch.zeros(751, 2 * DIM)}
    assert {'bottleneck.weight', 'bottleneck_3.running_var'} <= set(state)
    path = save({prefix + key: value for key, value in state.items()}, 'transformer_120.pth')
    model = MODELS.build(vit_config(3, multi=True))
    report = load_model_checkpoint(model, path)
    assert (report.layout, report.fraction, report.unexpected) == ('reid', 1, ())
    assert set(report.dropped) == {
        prefix + key for key in ('base.fc.weight', 'base.fc.bias', 'classifier.weight')
    }
    assert report.sources['neck.bottleneck_pt2.weight'] == f'{prefix}bottleneck_2.weight'
    assert_same_features(model, lambda images: neck(vit(images)))


@pytest.mark.slow
@pytest.mark.parametrize('ibn', [False, True])
def test_usl_resnets(save, one_block, ibn):
    source = randomize(ClusterContrastResNet(ibn))
    path = save(trained(source))
    model = MODELS.build(resnet_config(ibn, type='GeM', learnable=True))
    report = load_model_checkpoint(model, path)
    assert (report.layout, report.fraction, report.unexpected, report.dropped) == ('reid', 1, (), ())
    assert report.sources['backbone.layer4.0.conv1.weight'] == 'module.base.7.0.conv1.weight'
    assert report.sources['neck.bottleneck.running_mean'] == 'module.feat_bn.running_mean'
    assert not ibn or report.sources['backbone.layer1.0.bn1.IN.weight'] == 'module.base.4.0.bn1.IN.weight'
    assert_same_features(model, source)
    with pytest.raises(
        RuntimeError, match=r'1 unexpected tensors \(module.gap.p\); use the config .*neck.pool'
    ):
        load_model_checkpoint(MODELS.build(resnet_config(ibn)), path)


@pytest.mark.slow
def test_source_resnet_with_stages_by_name(save, one_block):
    net, norm = randomize(bottleneck_resnet(ibn=True)), randomize(nn.BatchNorm1d(2048))
    state = {f'base.{key}': value for key, value in net.state_dict().items()}
    state |= {f'bottleneck.{key}': value for key, value in norm.state_dict().items()}
    path = save(state | {'classifier.weight': torch.zeros(751, 2048)}, 'resnet50_120.pth')
    model = MODELS.build(resnet_config(True, type='avg'))
    report = load_model_checkpoint(model, path)
    assert (report.layout, report.fraction, report.unexpected) == ('reid', 1, ())
    names = ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4')
    stages = nn.Sequential(*(getattr(net, name) for name in names))
    assert_same_features(model, lambda images: norm(stages(images).mean((2, 3))))


class Classifier(nn.Module):
    def __init__(self, persons):
        super().__init__()
        self.backbone = nn.Linear(2, 2)
        self.head = nn.ModuleDict({'classifier': nn.Linear(2, persons, bias=False)})


@pytest.mark.parametrize('persons', [7, 9])
def test_classifier_is_loaded_where_it_has_the_same_persons(save, persons):
    state = {
        'base.weight': torch.ones(2, 2),
        'base.bias': torch.ones(2),
        'classifier.weight': torch.ones(7, 2),
    }
    model = Classifier(persons)
    report = load_model_checkpoint(model, save(state))
    assert model.backbone.weight.eq(1).all()
    assert model.head.classifier.weight.eq(1).all() == (persons == 7)
    assert report.dropped == (() if persons == 7 else ('classifier.weight',))
    assert report.missing == (() if persons == 7 else ('head.classifier.weight',))


# ---------------------------------------------------------------- networks alone


@pytest.mark.slow
def test_published_names_are_ours():
    with torch.device('meta'):
        vit, ours = timm.create_model('vit_small_patch16_224'), PASSViT('small', num_part_tokens=0)
        resnets = [(torchvision.models.resnet50(), ResNet(50)), (torchvision.models.resnet101(), ResNet(101))]
        resnets += [(timm.create_model('resnet50'), ResNet(50))]
    layout, sources = rename_keys(vit.state_dict())
    names = {f'backbone.{name}' for name in ours.state_dict()}
    assert layout == 'network'
    assert set(sources) - {'backbone.head.weight', 'backbone.head.bias'} == names - {'backbone.cls_pos'}
    for published, ours in resnets:
        layout, sources = rename_keys(published.state_dict())
        assert layout == 'network'
        names = {f'backbone.{name}' for name in ours.state_dict()}
        assert set(sources) - {'backbone.fc.weight', 'backbone.fc.bias'} == names


def tiny_timm_vit(size):
    return randomize(VisionTransformer(size, 16, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=5))


def test_dino_and_timm_vits(save):
    source, images = tiny_timm_vit((64, 32)), torch.randn(2, 3, 64, 32)
    state = source.state_dict()
    network = {key: value for key, value in state.items() if not key.startswith('head.')}
    dino = {
        'student': {f'module.backbone.{key}': value + 1 for key, value in network.items()},
        'teacher': {f'backbone.{key}': value for key, value in network.items()}
        | {'head.mlp.0.weight': torch.zeros(2), 'head.last_layer.weight_v': torch.zeros(2)},
        'optimizer': {'state': {0: {'step': 3}}, 'param_groups': [{'lr': 1e-4, 'params': [0]}]},
        'dino_loss': {'center': torch.zeros(1, 8)},
        'args': argparse.Namespace(arch='vit_small', patch_size=16),
        'epoch': 800,
    }
    for content, dropped in ((dino, 2), (state, 2), (network, 0)):
        model = PASSViT(ARCH, img_size=(64, 32), num_part_tokens=0)
        report = load_backbone_checkpoint(model, save(content))
        assert (report.fraction, len(report.dropped), report.unexpected) == (1, dropped, ())
        with torch.no_grad():
            expected = source.forward_features(images)[:, :1]
            torch.testing.assert_close(model.eval()(images), expected, atol=1e-5, rtol=1e-4)


def test_imagenet_vit_at_384_pixels(save):
    source = tiny_timm_vit(224)  # 14 x 14 patches
    model = PASSViT(ARCH, img_size=(384, 128), num_part_tokens=0)
    report = load_backbone_checkpoint(model, save(source.state_dict()), hw_ratio=1)
    assert report.resized == ('pos_embed (1, 197, 24) -> (1, 192, 24)',)
    positions = bilinear(source.pos_embed.detach()[0, 1:].reshape(14, 14, -1).double(), 24, 8).reshape(
        1, 192, -1
    )
    large = tiny_timm_vit((384, 128))
    large.load_state_dict(
        source.state_dict() | {'pos_embed': torch.cat([source.pos_embed[:, :1], positions], 1)}
    )
    images = torch.randn(2, 3, 384, 128)
    with torch.no_grad():
        expected = large.forward_features(images)[:, :1]
        torch.testing.assert_close(model.eval()(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize('hw_ratio', [None, 2])
def test_usl_vit_at_384_pixels(save, hw_ratio):
    source = randomize(Merged(PersonViT(3, size=(256, 128)), PersonNeck(3, True, 'mean')))
    path = save(trained(source))
    model = MODELS.build(vit_config(3, True, 'mean', img_size=(384, 128)))
    report = load_model_checkpoint(model, path, hw_ratio=hw_ratio)
    assert report.resized == ('backbone.pos_embed (1, 128, 24) -> (1, 192, 24)',)
    positions = bilinear(source.net.pos_embed.detach().reshape(16, 8, -1).double(), 24, 8)
    torch.testing.assert_close(
        model.backbone.pos_embed.double(), positions.reshape(1, 192, -1), atol=1e-6, rtol=1e-5
    )
    source.net.pos_embed = nn.Parameter(positions.reshape(1, 192, -1).float())
    assert_same_features(model, source, (384, 128))


@pytest.mark.slow
@pytest.mark.parametrize('old', [False, True])
def test_imagenet_ibn_resnets(save, one_block, old):
    source, model = randomize(bottleneck_resnet(ibn=True)), ResNet(50, ibn=True)
    state = source.state_dict()
    content = (
        {'state_dict': {f'module.{key}': value for key, value in state.items()}, 'epoch': 90}
        if old
        else state
    )
    report = load_backbone_checkpoint(model, save(content, 'resnet50_ibn_a.pth'))
    prefix = 'module.' if old else ''
    assert (report.fraction, report.unexpected) == (1, ())
    assert report.dropped == (f'{prefix}fc.weight', f'{prefix}fc.bias')
    own = model.state_dict()
    assert all(torch.equal(own[key], value) for key, value in state.items() if not key.startswith('fc.'))
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        logits = model.eval()(images).mean((2, 3)) @ source.fc.weight.T + source.fc.bias
        torch.testing.assert_close(logits, source(images), atol=1e-5, rtol=1e-4)


def osnet_names():
    """Keys of torchreid's OSNet."""

    def norm(name):
        return [
            f'{name}.{part}'
            for part in ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
        ]

    def conv(name):
        return [f'{name}.conv.weight', *norm(f'{name}.bn')]

    names = [*conv('conv1'), *conv('conv5'), 'fc.0.weight', 'fc.0.bias', *norm('fc.1')]
    for stage in ('conv2', 'conv3', 'conv4'):
        for block in (f'{stage}.0', f'{stage}.1'):
            streams = [
                'conv2a',
                *(f'conv2{s}.{i}' for s, length in (('b', 2), ('c', 3), ('d', 4)) for i in range(length)),
            ]
            for stream in (f'{block}.{stream}' for stream in streams):
                names += [f'{stream}.conv1.weight', f'{stream}.conv2.weight', *norm(f'{stream}.bn')]
            names += [*conv(f'{block}.conv1'), *conv(f'{block}.conv3')]
            names += [
                f'{block}.gate.{layer}.{part}' for layer in ('fc1', 'fc2') for part in ('weight', 'bias')
            ]
        names += conv(f'{stage}.0.downsample')
        names += conv(f'{stage}.2.0') if stage != 'conv4' else []
    return [*names, 'classifier.weight', 'classifier.bias']


@pytest.mark.slow
def test_osnet_of_torchreid(save):
    model = OSNet('x0_25')
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    content = {name: torch.rand(shapes.get(name, (9,))) for name in osnet_names()}
    assert set(content) == {*shapes, 'classifier.weight', 'classifier.bias'}
    trained = {f'module.{name}': value for name, value in content.items()}
    for file, dropped in (
        (content, 'classifier.weight'),
        ({'state_dict': trained}, 'module.classifier.weight'),
    ):
        model = OSNet('x0_25')
        report = load_backbone_checkpoint(model, save(file, 'osnet.pth.tar-60'))
        assert (report.fraction, report.unexpected, report.dropped[0]) == (1, (), dropped)
        loaded = model.state_dict()
        assert all(torch.equal(loaded[name], content[name]) for name in shapes if 'num_batches' not in name)


def test_names_of_torchreid_are_those_of_a_given_file():
    given = torch.load(shared_data('weights/osnet_x0_25_msmt17.pth'), weights_only=True)
    assert set(given) | {'classifier.weight', 'classifier.bias'} == set(osnet_names())


# ---------------------------------------------------------------- the network of GLC


def test_network_of_glc_in_two_files(save):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(12), 10)
    features = (rng.normal(size=(12, 16))[labels] + 0.3 * rng.normal(size=(120, 16))).astype(np.float32)
    numbers = dict(k=8, hidden_dim=12, subgraphs_per_epoch=2, min_nodes=10, device='cpu')
    glc = GLC.published(**numbers).fit(features, labels=labels)
    state = glc.network_.state_dict()
    paths = [
        save({key: value for key, value in state.items() if key.startswith(part)}, f'{part}.pth')
        for part in ('conv1', 'classifier')
    ]
    assert [recognize_layout(torch.load(path, weights_only=True)) for path in paths] == ['gcn', 'gcn']
    network = load_link_predictor(*paths)
    assert isinstance(network, LinkPredictor)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    used = GLC.published(**numbers).use_network(network)
    np.testing.assert_array_equal(used.predict(features), glc.predict(features))
    with pytest.raises(RuntimeError, match=r'missing \(5\): classifier.0.weight(?s:.*)give both files'):
        load_link_predictor(paths[0])
    with pytest.raises(RuntimeError, match=r'classifier.pth.: no graph convolution conv1.weight'):
        load_link_predictor(paths[1])


def test_published_network_of_glc():
    paths = [shared_data(f'weights/glc_gcn_{part}.pth') for part in ('backbone', 'head')]
    state = {}
    for path in paths:
        state |= torch.load(path, map_location='cpu', weights_only=True)
    network = load_link_predictor(*paths)
    assert network.conv1.weight.shape == (768, 512)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


# ---------------------------------------------------------------- refusals and reports


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        # Its neck has the right size, but the part necks would be lost.
        (dict(multi=False), r'12 unexpected tensors \(module.bottleneck_pt1.weight'),
        (dict(multi=False, fusion='cat'), r'neck.bottleneck.weight \(24,\) != \(48,\)'),
        (dict(parts=0), r'18 unexpected tensors'),
        (dict(stem='ics'), r'backbone.patch_embed.conv.0.weight.*use the config it was trained with'),
    ],
)
def test_models_of_another_kind_are_refused(save, other, message):
    path = save(trained(randomize(Merged(PersonViT(), PersonNeck(3, True, 'mean')))))
    model = MODELS.build(vit_config(**dict(dict(parts=3, multi=True, fusion='mean'), **other)))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        RuntimeError, match=rf"published.pth.tar' \(layout reid_vit\) does not fit.*{message}"
    ):
        load_model_checkpoint(model, path)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_network_without_neck_is_no_model(save):
    path = save(OSNet('x0_25').state_dict() | {'classifier.weight': torch.zeros(9, 512)}, 'osnet.pth')
    model = vit_config()
    model['backbone'], model['neck'] = (
        dict(type='OSNet', width='x0_25'),
        dict(type='ReIDNeck', in_channels=512),
    )
    with pytest.raises(RuntimeError, match=r'neck.bottleneck.weight.*init_cfg.checkpoint=.*osnet.pth'):
        load_model_checkpoint(MODELS.build(model), path)


def test_layouts_that_cannot_be_used():
    with pytest.raises(ValueError, match=r"'auto' or one of glc, .*got 'pass'"):
        rename_keys(['a'], 'pass')
    with pytest.raises(RuntimeError, match=r"'base.a' and 'module.backbone.a' would both be 'backbone.a'"):
        rename_keys(['base.a', 'module.backbone.a'], 'reid')


def test_every_layout_is_recognized():
    layouts = {
        'glc': ['backbone.cls_token', 'neck.bottleneck.weight'],
        'teacher': ['module.backbone.cls_token', 'module.head.mlp.0.weight'],
        'reid': ['base.cls_token', 'bottleneck.weight'],
        'reid_vit': ['module.cls_token', 'module.bottleneck.weight'],
        'gcn': ['conv1.weight', 'conv1.bias', 'classifier.0.weight'],
        'network': ['features.0.0.weight', 'classifier.1.weight', 'conv1.bias'],
    }
    assert {name: recognize_layout(keys) for name, keys in layouts.items()} == {
        name: name for name in layouts
    }


def test_table_has_a_row_for_every_tensor():
    model = nn.ModuleDict({'backbone': nn.Linear(2, 2), 'neck': nn.Linear(2, 3), 'other': nn.Linear(1, 1)})
    content = {'base.weight': torch.ones(2, 2), 'base.bias': torch.ones(3), 'neck.weight': torch.ones(3, 2)}
    content |= {'classifier.weight': torch.ones(5, 2), 'extra': torch.ones(1)}
    fitting, report = convert_state_dict(model, content, 'reid')
    assert set(fitting) == {'backbone.weight', 'neck.weight'}
    assert [line.split() for line in report.table().splitlines()] == [
        ['status', 'key', 'in', 'the', 'file', 'name', 'in', 'the', 'model', 'shape'],
        ['renamed', 'base.weight', 'backbone.weight'],
        ['matched', 'neck.weight', 'neck.weight'],
        ['other', 'shape', 'base.bias', 'backbone.bias', '(3,)', '!=', '(2,)'],
        ['missing', 'neck.bias'],
        ['missing', 'other.weight'],
        ['missing', 'other.bias'],
        ['skipped', 'classifier.weight'],
        ['unexpected', 'extra'],
    ]
    assert LoadReport('x', matched=('a',), sources={'a': 'b'}).renamed == ('a',)
