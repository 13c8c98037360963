"""Configs of source training: their numbers, data sets, and the checkpoints that domain adaptation starts from."""

import math
import re
from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from torch import nn

import glc.engine
import glc.models  # noqa: F401
from glc.apis.config_checks import check_config
from glc.apis.options import parse_value
from glc.datasets import MSMT17, Market1501
from glc.registry import HOOKS, MODELS, PARAM_SCHEDULERS
from glc.structures import ReIDDataSample

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted(path.stem for path in (CONFIGS / 'source').glob('*.py'))
PUBLISHED = [name for name in NAMES if name.startswith(('vit', 'resnet'))]


@pytest.fixture(autouse=True)
def glc_scope():
    with DefaultScope.overwrite_default_scope('glc'):
        yield


def load(name: str, folder: str = 'source') -> Config:
    return Config.fromfile(CONFIGS / folder / f'{name}.py')


def test_the_promised_leaves_exist():
    networks = ('vit_s', 'vit_b', 'resnet50', 'osnet_x0_25')
    assert {f'{network}_{data}_sup' for network in networks for data in ('market', 'msmt')} <= set(NAMES)
    networks = ('vit_s_plain', 'vit_s_ics_plain', 'vit_b_ics_plain_384')
    assert {f'{network}_{data}_sup' for network in networks for data in ('market', 'msmt')} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('vit')])
def test_images_have_the_size_of_the_network(name):
    cfg = load(name)
    height, width = (384, 128) if '384' in name else (256, 128)
    assert tuple(cfg.model.backbone.img_size) == (height, width)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        steps = {step.type: step for step in loader.dataset.pipeline}
        assert steps['Resize'].scale == (width, height)
        if loader is cfg.train_dataloader:
            assert steps['PadRandomCrop'].size == (width, height)
            assert steps['PadRandomCrop'].padding == 10


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_leaf_is_short_and_consistent(name):
    assert len((CONFIGS / 'source' / f'{name}.py').read_text().splitlines()) <= 20
    cfg = load(name)
    hooks = {key: HOOKS.build(hook) for key, hook in cfg.default_hooks.items()}
    assert 'identity_label' in hooks
    assert 'pseudo_label' not in hooks
    loader = cfg.train_dataloader
    assert (loader.batch_size, loader.sampler.num_ids, loader.sampler.num_instances) == (64, 16, 4)
    assert cfg.train_cfg.max_epochs % cfg.train_cfg.val_interval == 0
    dataset = {'Market1501': Market1501, 'MSMT17': MSMT17}.get(loader.dataset.type)
    ids = dataset.published_counts['train'].ids if dataset else 100
    assert cfg.model.head.num_classes == ids


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_parts_fit_together(name):
    cfg = load(name)
    cfg.model.backbone.pop('init_cfg', None)
    with torch.device('meta'):  # shapes only
        model = MODELS.build(cfg.model)
        inputs, samples = (
            torch.empty(64, 3, *cfg.model.backbone.get('img_size', (256, 128))),
            [ReIDDataSample(metainfo=dict(cam_id=0))] * 64,
        )
        after = model.neck.for_losses(model.encode(inputs, samples))[1]
        logits = model.head.classifier(after[:, 0] if after.ndim == 3 else after)
        assert logits.shape == (64, cfg.model.head.num_classes)
        features = model.head.classifier.in_features * (5 if 'transreid' in name else 1)
        assert model.eval().extract_feat(inputs, samples).shape == (64, features)
    norms = [key for key, _ in model.neck.named_children() if key.startswith('bottleneck')]
    parts = ['_pt1', '_pt2', '_pt3'] if name.startswith('vit') and 'plain' not in name else []
    parts += ['_pt4'] if 'transreid' in name else []
    assert norms == ['bottleneck', *(f'bottleneck{part}' for part in parts)]


@pytest.mark.slow
@pytest.mark.parametrize('name', PUBLISHED)
def test_leaf_holds_the_numbers_of_the_recipe(name):
    cfg = load(name)
    lr = 8e-3 if 'transreid' in name else 4e-4
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=lr, momentum=0.9, weight_decay=1e-4)
    assert cfg.train_cfg.max_epochs == 120
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    loader = cfg.train_dataloader
    assert loader.sampler == dict(type='RandomIdentitySampler', num_ids=16, num_instances=4)
    resize, *_, erasing, _ = loader.dataset.pipeline[1:]
    assert (resize.interpolation, erasing.prob, erasing.noise, erasing.log_aspect) == (
        'bicubic',
        0.5,
        True,
        True,
    )
    assert (*erasing.area, *erasing.aspect) == pytest.approx((0.02, 0.33, 0.3, 3.33), abs=0.004)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].interpolation == 'bilinear'
    if name.startswith('vit'):
        assert cfg.model.backbone.drop_path_rate == 0.1
    if name.startswith('vit') and 'transreid' not in name:
        assert cfg.model.neck.multi == ('plain' not in name)
        assert cfg.model.neck.fusion == 'cat'


@pytest.mark.parametrize(('name', 'cameras'), [('market', 6), ('msmt', 15)])
def test_transreid_leaf_holds_the_published_numbers(name, cameras):
    cfg = load(f'vit_b_transreid_{name}_sup')
    backbone = cfg.model.backbone
    assert (backbone.type, backbone.arch, backbone.stride) == ('JPMViT', 'base', 12)
    assert (backbone.num_branches, backbone.shift, backbone.groups) == (4, 5, 2)
    assert backbone.side_information == dict(cam_id=cameras)
    dataset = {'market': Market1501, 'msmt': MSMT17}[name]
    assert dataset.published_counts['train'].cams == cameras
    assert backbone.side_weight == 3
    assert cfg.model.data_preprocessor.mean == cfg.model.data_preprocessor.std == [127.5] * 3
    assert cfg.model.head == dict(
        type='BranchHead', in_channels=768, num_branches=5, num_classes=cfg.model.head.num_classes
    )  # soft margin, no label smoothing
    assert cfg.param_scheduler[0].warm_up == 5


def rates(cfg: Config) -> list[dict[str, float]]:
    """Learning rate of every parameter in every epoch."""
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    optimizer = build_optim_wrapper(model, {**cfg.optim_wrapper, 'type': 'OptimWrapper'}).optimizer
    schedulers = [PARAM_SCHEDULERS.build(dict(step, optimizer=optimizer)) for step in cfg.param_scheduler]
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    result = []
    for _ in range(cfg.train_cfg.max_epochs):
        result.append({names[id(group['params'][0])]: group['lr'] for group in optimizer.param_groups})
        assert {group['weight_decay'] for group in optimizer.param_groups} == {
            cfg.optim_wrapper.optimizer.weight_decay
        }
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    return result


def published_factor(epoch: int, warm_up: int = 20) -> float:
    """Warm-up of 20 epochs, then a cosine over 120 epochs, entered at epoch 20."""
    if epoch < warm_up:
        return 0.01 + 0.99 * epoch / warm_up
    return 0.002 + 0.998 * (1 + math.cos(math.pi * epoch / 120)) / 2


def short_factor(epoch: int) -> float:
    """Two epochs of warm-up, then a whole cosine over eight."""
    if epoch < 2:
        return 0.1 + 0.9 * epoch
    return 0.002 + 0.998 * (1 + math.cos(math.pi * (epoch - 2) / 8)) / 2


@pytest.mark.parametrize(
    ('name', 'factor'),
    [
        ('vit_s_msmt_sup', published_factor),
        ('vit_b_transreid_market_sup', partial(published_factor, warm_up=5)),
        ('osnet_x0_25_market_sup', short_factor),
    ],
)
def test_learning_rate_per_epoch(name, factor):
    cfg = load(name)
    for epoch, found in enumerate(rates(cfg)):
        for parameter, rate in found.items():
            expected = cfg.optim_wrapper.optimizer.lr * factor(epoch) * (2 if 'bias' in parameter else 1)
            assert rate == pytest.approx(expected), (epoch, parameter)


@pytest.mark.slow
def test_options_of_the_documentation_are_built():
    text = (CONFIGS.parent / 'docs/swap_components.md').read_text()
    options = re.findall(r'^(model\.(head|neck|backbone)\.\w+)=(\S+)', text, re.MULTILINE)
    assert len(options) == 14
    for key, part, value in options:
        cfg = load('resnet50_market_sup' if 'pool' in key else 'vit_s_plain_market_sup')
        cfg.merge_from_dict({key: parse_value(value)})
        check_config(cfg)
        cfg.model[part].pop('init_cfg', None)
        with torch.device('meta'):
            MODELS.build(cfg.model[part])


@pytest.mark.slow
def test_adaptation_starts_from_what_the_source_config_writes():
    leaves = [
        path.stem
        for path in (CONFIGS / 'glc').glob('*2*_uda*.py')
        if not path.stem.startswith('osnet_x0_25_msmt')
    ]
    assert len(leaves) >= 10
    for leaf in leaves:
        source = f'{leaf.rpartition("2")[0]}_sup'
        cfg = load(source)
        start = load(leaf, 'glc').model.backbone.init_cfg.checkpoint
        assert start == f'work_dirs/{source}/epoch_{cfg.train_cfg.max_epochs}.pth'


def test_metafile_lists_every_leaf():
    metafile = yaml.safe_load((CONFIGS / 'source' / 'metafile.yml').read_text())
    assert [model['Config'] for model in metafile['Models']] == [
        f'configs/source/{name}.py' for name in NAMES
    ]
