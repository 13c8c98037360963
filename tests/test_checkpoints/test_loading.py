import argparse
import logging
import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from glc.checkpoints import (
    LoadReport,
    backbone_state_dict,
    load_backbone_checkpoint,
    load_checkpoint_file,
    resize_pos_embed,
)
from glc.checkpoints import loading as module
from glc.models.backbones import OSNet, PASSViT, ResNet

TINY = {'dim': 24, 'depth': 4, 'heads': 3}


def vit(seed, **kwargs):
    torch.manual_seed(seed)
    return PASSViT(**({'arch': TINY, 'img_size': (64, 32)} | kwargs))


def plain_layout(model):
    """State dict of timm, DINO and TransReID-SSL: position embedding with a row for the class token."""
    state = model.state_dict()
    state['pos_embed'] = torch.cat([state.pop('cls_pos'), state['pos_embed']], 1)
    return state


def prefixed(state, prefix):
    return {f'{prefix}{key}': value for key, value in state.items()}


def save(path, content):
    torch.save(content, path)
    return str(path)


def same(model, other):
    own, others = (
        {k: v for k, v in m.state_dict().items() if 'num_batches' not in k} for m in (model, other)
    )
    return own.keys() == others.keys() and all(torch.equal(own[key], others[key]) for key in own)


# ---------------------------------------------------------------- published layouts


def test_pass_teacher_with_command_line_and_heads(tmp_path):
    source, model = vit(0), vit(1)
    head = {
        'module.head.mlp_cls.0.weight': torch.zeros(3),
        'module.head.last_layer_pt1.weight_g': torch.zeros(2),
    }
    content = {
        'student': prefixed(vit(2).state_dict(), 'module.backbone.'),
        'teacher': prefixed(source.state_dict(), 'module.backbone.') | head,
        'args': argparse.Namespace(arch='vit_small', lr=5e-4, crops=[1, 2]),
        'epoch': 100,
    }
    report = load_backbone_checkpoint(model, save(tmp_path / 'pass.pth', content))
    assert same(model, source)
    assert report.fraction == 1
    assert len(report.matched) == len(source.state_dict())
    assert sorted(report.dropped) == sorted(head)
    assert (report.missing, report.unexpected, report.mismatched, report.resized) == ((), (), (), ())


@pytest.mark.parametrize(
    'wrap', [lambda s: {'teacher': prefixed(s, 'backbone.')}, lambda s: {'model': s}, lambda s: s]
)
@pytest.mark.parametrize('stem', ['patch', 'ics'])
def test_plain_vit_layouts(tmp_path, wrap, stem):
    source, model = (vit(seed, num_part_tokens=0, stem=stem) for seed in (0, 1))
    state = plain_layout(source) | {
        'head.weight': torch.zeros(10, 24),
        'pre_logits.fc.weight': torch.zeros(2),
    }
    report = load_backbone_checkpoint(model, save(tmp_path / 'vit.pth', wrap(state)))
    assert same(model, source)
    assert report.fraction == 1
    assert not report.unexpected
    assert report.resized == ('pos_embed (1, 9, 24) -> (1, 8, 24)',)


def test_trained_usl_model_in_data_parallel(tmp_path):
    source, model = vit(0), vit(1)
    neck = {f'module.bottleneck{part}.weight': torch.ones(24) for part in ('', '_pt1', '_pt2', '_pt3')}
    content = {
        'state_dict': prefixed(source.state_dict(), 'module.') | neck,
        'epoch': 50,
        'best_mAP': np.float64(0.89),
    }
    report = load_backbone_checkpoint(model, save(tmp_path / 'usl.pth.tar', content))
    assert same(model, source)
    assert sorted(report.dropped) == sorted(neck)
    assert not report.unexpected


def test_source_supervised_model_starts_a_domain_adaptation(tmp_path):
    source, model = vit(0), vit(1)
    neck = {
        'bottleneck.weight': torch.ones(3),
        'bottleneck_1.bias': torch.ones(3),
        'classifier.weight': torch.ones(3),
    }
    content = prefixed(source.state_dict() | {'fc.weight': torch.zeros(1)}, 'base.') | neck
    report = load_backbone_checkpoint(model, save(tmp_path / 'transformer_120.pth', content))
    assert same(model, source)
    assert sorted(report.dropped) == ['base.fc.weight', *sorted(neck)]


@pytest.mark.slow
@pytest.mark.parametrize('ibn', [False, True])
def test_resnet_layouts(monkeypatch, ibn):
    monkeypatch.setitem(ResNet.depths, 50, [1, 1, 1, 1])
    source, model = ResNet(50, ibn=ibn), ResNet(50, ibn=ibn)
    content = {key: value for key, value in source.state_dict().items() if 'num_batches_tracked' not in key}
    content |= {'fc.weight': torch.zeros(9, 2048), 'fc.bias': torch.zeros(9)}
    monkeypatch.setattr(module, 'load_checkpoint_file', lambda path: content)
    report = load_backbone_checkpoint(model, 'imagenet.pth')
    assert same(model, source)
    assert (report.fraction, report.dropped, report.unexpected) == (1, ('fc.weight', 'fc.bias'), ())

    names = ('conv1', 'bn1', 'relu', 'maxpool', 'layer1', 'layer2', 'layer3', 'layer4')
    sequence = nn.Sequential(*(getattr(source, name) for name in names))
    content = prefixed(sequence.state_dict(), 'module.base.') | {'module.feat_bn.weight': torch.ones(2)}
    model = ResNet(50, ibn=ibn)
    report = load_backbone_checkpoint(model, 'cluster_contrast.pth.tar')
    assert same(model, source)
    assert (report.fraction, report.dropped, report.unexpected) == (1, ('module.feat_bn.weight',), ())


def test_osnet_keeps_its_fc_and_drops_its_classifier(tmp_path):
    torch.manual_seed(0)
    source, model = OSNet('x0_25'), OSNet('x0_25')
    state = source.state_dict() | {
        'classifier.weight': torch.zeros(9, 512),
        'classifier.bias': torch.zeros(9),
    }
    path = save(tmp_path / 'osnet.pth', {'state_dict': prefixed(state, 'module.'), 'rank1': np.float32(0.5)})
    report = load_backbone_checkpoint(model, path)
    assert same(model, source)
    assert {'fc.0.weight', 'fc.1.running_var'} <= set(report.matched)
    assert report.dropped == ('module.classifier.weight', 'module.classifier.bias')


def test_own_checkpoint(tmp_path):
    source, model = vit(0), vit(1)
    state = prefixed(source.state_dict(), 'backbone.') | {'neck.bottleneck.weight': torch.ones(3)}
    report = load_backbone_checkpoint(
        model, save(tmp_path / 'epoch_1.pth', {'meta': {}, 'state_dict': state})
    )
    assert same(model, source)
    assert report.dropped == ('neck.bottleneck.weight',)


def test_explicit_prefix(tmp_path):
    source, model = vit(0), vit(1)
    content = prefixed(source.state_dict(), 'encoder_q.') | prefixed(vit(2).state_dict(), 'encoder_k.')
    path = save(tmp_path / 'moco.pth', content)
    load_backbone_checkpoint(model, path, prefix='encoder_q')
    assert same(model, source)
    with pytest.raises(
        RuntimeError, match=r"moco.pth': no key starts with the prefix 'encoder.'; there are encoder_q"
    ):
        load_backbone_checkpoint(model, path, prefix='encoder')


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(['module.', 'backbone.', 'base.']), max_size=5),
    st.lists(st.sampled_from(['teacher', 'model', 'state_dict']), max_size=3),
)
def test_prefixes_and_containers_in_any_order(prefixes, containers):
    content = {
        ''.join(prefixes) + name: torch.full((2,), value)
        for name, value in (('norm.weight', 1.0), ('cls', 2.0))
    }
    for container in containers:
        content = {container: content, 'epoch': 3}
    state, beside = backbone_state_dict(content)
    assert {name: value[0].item() for name, value in state.items()} == {'norm.weight': 1.0, 'cls': 2.0}
    assert beside == []


# ---------------------------------------------------------------- between layouts


def test_plain_checkpoint_in_a_model_with_part_tokens(tmp_path, monkeypatch):
    messages = []
    monkeypatch.setattr(module, 'print_log', lambda text, logger, level: messages.append((text, level)))
    source, model = vit(0, num_part_tokens=0), vit(1)
    path = save(tmp_path / 'dino.pth', plain_layout(source))
    parts = {f'part_token{part}' for part in (1, 2, 3)} | {f'part{part}_pos' for part in (1, 2, 3)}
    with pytest.raises(RuntimeError, match=r'missing \(6\): part_token1, part1_pos'):
        load_backbone_checkpoint(model, path)  # six of the few tensors of the tiny model
    assert messages == []
    report = load_backbone_checkpoint(model, path, min_matched=0.8)
    assert set(report.missing) == parts
    assert torch.equal(model.cls_pos, source.cls_pos)
    assert torch.equal(model.part_token1, vit(1).part_token1)
    ((text, level),) = messages
    assert level == logging.WARNING
    assert f'loaded {report.total - 6} of {report.total} backbone tensors' in text
    assert 'part_token1' in text


@pytest.mark.parametrize('stem', ['patch', 'ics'])
def test_plain_vit_s_is_enough_for_pass_vit_s(tmp_path, monkeypatch, stem):
    monkeypatch.setattr(module, 'load_checkpoint_file', lambda path: plain_layout(source))
    with torch.device('meta'):
        source, model = PASSViT('small', num_part_tokens=0, stem=stem), PASSViT('small', stem=stem)
        report = load_backbone_checkpoint(model, 'vit_small.pth')
    assert len(report.missing) == 6
    assert 0.95 < report.fraction < 1


def test_part_token_checkpoint_in_a_plain_model(tmp_path):
    source, model = vit(0), vit(1, num_part_tokens=0)
    report = load_backbone_checkpoint(model, save(tmp_path / 'pass.pth', source.state_dict()))
    assert report.fraction == 1
    assert len(report.unexpected) == 6
    state = source.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


# ---------------------------------------------------------------- position embeddings


def bilinear(grid, height, width):
    """Bilinear resize of a (h, w, D) grid, sample by sample, pixel centers at half-integers."""
    old_height, old_width, _ = grid.shape
    result = torch.zeros(height, width, grid.shape[2], dtype=grid.dtype)
    for row in range(height):
        for column in range(width):
            y = min(max((row + 0.5) * old_height / height - 0.5, 0), old_height - 1)
            x = min(max((column + 0.5) * old_width / width - 0.5, 0), old_width - 1)
            top, left = math.floor(y), math.floor(x)
            for i, weight_y in ((top, 1 - (y - top)), (top + 1, y - top)):
                for j, weight_x in ((left, 1 - (x - left)), (left + 1, x - left)):
                    if weight_x * weight_y:
                        result[row, column] += weight_y * weight_x * grid[i, j]
    return result


@pytest.mark.parametrize(
    ('old', 'hw_ratio', 'new'),
    [
        ((4, 4), None, (8, 4)),
        ((4, 4), 1, (6, 3)),
        ((6, 3), None, (8, 4)),
        ((6, 3), 2, (12, 4)),
        ((9, 3), None, (4, 2)),
        ((21, 10), 2, (16, 8)),  # overlapping patches of a stride of 12 pixels
        ((21, 10), 2, (22, 11)),
        ((22, 11), 2, (21, 10)),
        ((47, 15), 3, (16, 8)),
        ((16, 8), 2, (21, 10)),
    ],
)
def test_position_embeddings_are_resized_bilinearly(old, hw_ratio, new):
    torch.manual_seed(0)
    grid = torch.randn(*old, 5)
    result = resize_pos_embed(grid.reshape(1, -1, 5), new, hw_ratio)
    torch.testing.assert_close(result, bilinear(grid, *new).reshape(1, -1, 5))


def test_position_embeddings_of_the_same_number():
    embed = torch.randn(1, 32, 5)
    assert resize_pos_embed(embed, (8, 4)) is embed
    assert resize_pos_embed(embed, (8, 4), hw_ratio=2) is embed
    square = torch.randn(1, 36, 5)
    assert resize_pos_embed(square, (12, 3)) is square
    resized = resize_pos_embed(square, (12, 3), hw_ratio=1)
    torch.testing.assert_close(resized, bilinear(square.reshape(6, 6, 5), 12, 3).reshape(1, -1, 5))


@pytest.mark.parametrize(
    ('count', 'hw_ratio', 'said'),
    [
        (210, None, 'grid of 16 x 8 .* 210 positions are 21 x 10 or 15 x 14'),
        (210, 1, 'no grid with hw_ratio=1'),
        (210, 3, 'no grid with hw_ratio=3'),
        (211, 2, '211 positions are no grid of usual shape'),
        (197, None, 'network has a grid of 16 x 8'),
    ],
)
def test_position_embeddings_without_a_grid_say_both_grids(count, hw_ratio, said):
    with pytest.raises(RuntimeError, match=said + '.*set hw_ratio'):
        resize_pos_embed(torch.zeros(1, count, 2), (16, 8), hw_ratio)


def test_imagenet_vit_is_resized_on_loading(tmp_path):
    source, model = vit(0, img_size=(96, 96), num_part_tokens=0), vit(1, num_part_tokens=0)
    state = plain_layout(source)
    model.init_cfg = {'type': 'Pretrained', 'checkpoint': save(tmp_path / 'vit.pth', state), 'hw_ratio': 1}
    model.init_weights()
    assert model.load_report.resized == ('pos_embed (1, 37, 24) -> (1, 8, 24)',)
    expected = bilinear(source.pos_embed.detach().reshape(6, 6, -1), 4, 2).reshape(1, 8, -1)
    torch.testing.assert_close(model.pos_embed.data, expected)
    assert torch.equal(model.cls_pos, source.cls_pos)
    with pytest.raises(RuntimeError, match=r"vit.pth': 36 position embeddings make no grid with hw_ratio=2"):
        load_backbone_checkpoint(model, tmp_path / 'vit.pth', hw_ratio=2)


def test_overlapping_patches_resize_the_published_grid(tmp_path):
    source, model = vit(0), vit(1, stride=12)
    report = load_backbone_checkpoint(model, save(tmp_path / 'pass.pth', source.state_dict()))
    assert report.resized == ('pos_embed (1, 8, 24) -> (1, 10, 24)',)
    assert report.fraction == 1


# ---------------------------------------------------------------- refusals


def test_checkpoint_that_does_not_match(tmp_path):
    model = vit(1)
    path = save(tmp_path / 'wrong.pth', {'state_dict': OSNet('x0_25').state_dict()})
    with pytest.raises(RuntimeError) as caught:
        load_backbone_checkpoint(model, path)
    message = str(caught.value)
    for part in (
        'wrong.pth',
        'loaded 0 of 61',
        'missing (61): cls_token',
        'unexpected (479): conv1.conv.weight',
        '0.0% of PASSViT',
        '95%',
    ):
        assert part in message
    assert same(model, vit(1))


def test_just_under_and_just_over_the_limit(tmp_path):
    names = [f'{index}' for index in range(40)]
    model, state = (
        nn.ParameterDict({name: torch.zeros(2) for name in names}),
        {name: torch.ones(2) for name in names},
    )
    report = load_backbone_checkpoint(
        model, save(tmp_path / 'a.pth', {name: state[name] for name in names[2:]})
    )
    assert report.fraction == 0.95
    assert [model[name][0].item() for name in names] == [0, 0] + [1] * 38
    with pytest.raises(RuntimeError, match=r'missing \(3\): 0, 1, 2\n'):
        load_backbone_checkpoint(model, save(tmp_path / 'b.pth', {name: state[name] for name in names[3:]}))


def test_one_tensor_of_another_shape_is_another_architecture(tmp_path):
    source, model = vit(0, stem='ics'), vit(1)
    path = save(tmp_path / 'ics.pth', source.state_dict())
    with pytest.raises(
        RuntimeError,
        match=r'mismatched \(1\): patch_embed.proj.weight \(24, 64, 8, 8\) != \(24, 3, 16, 16\)',
    ):
        load_backbone_checkpoint(model, path)
    assert same(model, vit(1))


class Touch:
    """Unpickling this creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_no_code_of_the_file_is_run(tmp_path):
    path = save(
        tmp_path / 'evil.pth', {'state_dict': vit(0).state_dict(), 'extra': Touch(tmp_path / 'created')}
    )
    with pytest.raises(
        RuntimeError, match=r"(?s)evil.pth' cannot be read safely: .*GLOBAL .*mkdir.*ask its author"
    ):
        load_checkpoint_file(path)
    assert not (tmp_path / 'created').exists()


def test_scores_saved_by_numpy_1_are_read(tmp_path):
    content = {'weight': torch.ones(2), 'best_mAP': np.float64(0.5), 'epoch': np.int64(3)}
    torch.save(content, tmp_path / 'new.pth', _use_new_zipfile_serialization=False)
    old = (tmp_path / 'new.pth').read_bytes().replace(b'numpy._core.', b'numpy.core.')
    (tmp_path / 'old.pth').write_bytes(old)
    assert b'numpy.core.multiarray' in old
    for name in ('new.pth', 'old.pth'):
        loaded = load_checkpoint_file(tmp_path / name)
        assert (loaded['best_mAP'], loaded['epoch']) == (0.5, 3)


def test_missing_file_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"(?s)pretrained/a.pth' does not exist.*init_cfg.checkpoint=PATH"
    ) as caught:
        load_checkpoint_file('pretrained/a.pth')
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (
            {'epoch': 3, 'model': {'name': 'vit'}},
            r"'.*x.pth': no weights at the top or below .*, but only name",
        ),
        ([1, 2], r'no weights at the top or below .*, but a list'),
    ],
)
def test_file_without_weights(tmp_path, content, message):
    with pytest.raises(RuntimeError, match=message):
        load_backbone_checkpoint(vit(0), save(tmp_path / 'x.pth', content))


def test_damaged_file(tmp_path):
    (tmp_path / 'page.pth').write_text('<html>quota exceeded</html>')
    with pytest.raises(RuntimeError, match=r'page.pth.*cannot be read safely(?s:.*)download it again'):
        load_checkpoint_file(tmp_path / 'page.pth')


def test_report_text():
    report = LoadReport('a.pth', matched=('a', 'b', 'c'), missing=tuple('defghijk'), unexpected=('x',))
    assert str(report) == (
        'a.pth: loaded 3 of 11 backbone tensors\n  missing (8): d, e, f, g, h, i, ...\n  unexpected (1): x'
    )
