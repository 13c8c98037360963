"""Every config loads, builds without data, and holds the numbers of its recipe."""

import ast
import runpy
import shlex
import sys
from functools import reduce
from operator import getitem
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

import glc.apis
import glc.engine
import glc.models
from glc.apis.config_checks import check_config
from glc.apis.options import parse_value
from glc.core.correctors import GLC
from glc.core.labelers import AdaptiveConsensus, CosineMapEquation, JaccardDBSCAN, MultiScaleConsensus
from glc.core.losses import PartDistillationLoss
from glc.core.memories import ClusterMemory
from glc.engine.feature_extractor import deterministic_pipeline
from glc.registry import (
    HOOKS,
    LABEL_CORRECTORS,
    MEMORY_BANKS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    PSEUDO_LABELERS,
    TRANSFORMS,
)

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
NAMES = sorted(path.stem for path in (CONFIGS / 'glc').glob('*.py'))
RESTARTS = [name for name in NAMES if name.endswith('_restart')]
PUBLISHED = [name for name in NAMES if name.endswith('_published')]
TWINS = sorted(
    path.stem for path in (CONFIGS / 'cluster_contrast').glob('*.py') if '../glc/' in path.read_text()
)
PRETRAINING = sorted(path.stem for path in (CONFIGS / 'pass').glob('*.py'))
LEAVES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for folder in ('glc', 'cluster_contrast', 'extensions')
    for path in (CONFIGS / folder).glob('*.py')
)
COMPOSED = sorted(
    path.relative_to(CONFIGS).as_posix()
    for folder in ('glc', 'source', 'cluster_contrast')
    for path in (CONFIGS / folder).glob('*.py')
    if '_base_ = [' in path.read_text()
)

# eps, fusion and multi neck (None: not part of the setting), images per BatchNorm group
RECIPES = {
    'market_usl': (0.6, 'cat', False, 64),
    'msmt_usl': (0.7, 'mean', False, 128),
    'msmt2market_uda': (0.6, 'cat', True, 64),
    'market2msmt_uda': (0.7, 'mean', True, 128),
}


@pytest.fixture(autouse=True)
def glc_scope():
    with DefaultScope.overwrite_default_scope('glc'):
        yield


def load(leaf: str) -> Config:
    return Config.fromfile(CONFIGS / leaf)


def without_pretrained(model: ConfigDict) -> ConfigDict:
    model.backbone.pop('init_cfg', None)
    return model


def test_the_promised_leaves_exist():
    promised = {f'{name}{restart}' for name in RECIPES for restart in ('', '_restart')}
    promised = {f'vit_s_{name}' for name in promised}
    promised |= {
        f'{network}_{data}_usl'
        for network in ('vit_s_ics', 'vit_b', 'resnet50', 'resnet50_ibn')
        for data in ('market', 'msmt')
    }
    promised |= {
        f'{network}_{data}_uda'
        for network in ('vit_b', 'resnet50', 'osnet_x0_25')
        for data in ('msmt2market', 'market2msmt')
    }
    promised |= {'osnet_x0_25_msmt2market_uda_50e'}
    promised |= {'mobilenetv2_market_usl', 'efficientnet_lite0_market_usl'}
    promised |= {f'{name}_published' for name in promised if not name.endswith('_restart')}
    promised |= {f'{network}_{name}_restart' for network in ('vit_b', 'resnet50') for name in RECIPES}
    promised |= {'vit_s_ics_market_usl_restart', 'vit_s_ics_msmt_usl_restart'}
    promised |= {
        'osnet_x0_25_msmt2market_uda_50e_restart',
        'mobilenetv2_market_usl_restart',
        'demo_synthetic',
    }
    assert promised <= set(NAMES)


@pytest.mark.parametrize('leaf', LEAVES)
def test_leaf_is_short_and_builds_its_parts(leaf):
    assert len((CONFIGS / leaf).read_text().splitlines()) <= 20
    cfg = load(leaf)
    hooks = {name: HOOKS.build(hook) for name, hook in cfg.default_hooks.items()}
    label_hook = hooks['pseudo_label']
    dbscan = (
        leaf.startswith('cluster_contrast/') or 'published' in leaf or 'restart' in leaf or 'demo' in leaf
    )
    labeler = getattr(label_hook.labeler, 'labeler', label_hook.labeler)
    if 'infomap' in leaf:
        # Published: k1 15, eps 0.5, and clusters of at most k2 = 4 images are dropped.
        assert labeler.get_params() == CosineMapEquation(15, 0.5, 5).get_params()
    else:
        fixed = MultiScaleConsensus if 'consensus' in leaf or 'hybrid' in leaf else AdaptiveConsensus
        assert isinstance(labeler, JaccardDBSCAN if dbscan else fixed)
    assert isinstance(label_hook.corrector, (GLC, type(None)))
    assert (label_hook.corrector is None) == (leaf.startswith('cluster_contrast/') or 'hybrid' in leaf)
    assert isinstance(MEMORY_BANKS.build(cfg.model.head.memory), ClusterMemory)
    METRICS.build(cfg.test_evaluator)
    # Nobody knows who is on one's own images, so nothing is evaluated during training.
    assert (cfg.val_dataloader is None) == (cfg.val_evaluator is None) == ('image_folder' in leaf)
    for loader in filter(None, (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)):
        for step in loader.dataset.pipeline:
            TRANSFORMS.build(step)
    sampler = cfg.train_dataloader.sampler
    assert cfg.train_dataloader.batch_size == sampler.num_ids * sampler.num_instances
    assert cfg.train_dataloader.batch_size % cfg.model.bn_group_size == 0
    assert cfg.train_cfg.max_epochs % cfg.train_cfg.val_interval == 0


@pytest.mark.parametrize('leaf', COMPOSED)
def test_leaf_is_model_setting_and_labels(leaf):
    bases, *own = ast.parse((CONFIGS / leaf).read_text()).body
    assert bases.targets[0].id == '_base_'
    model, setting, labels = (Path(base) for base in ast.literal_eval(bases.value))
    assert [base.parent.name for base in (model, setting, labels)] == ['models', 'settings', 'labelers']
    taken_up = {'model': '_identities' if labels.stem == 'identities' else '_cnn'}
    if labels.stem != 'identities' and model.stem.startswith('vit'):
        taken_up['model'] = '_vit'
    if 'dbscan' in labels.stem:
        taken_up['default_hooks'] = '_dbscan'
        if model.stem.endswith('_pass') and setting.stem.endswith('_uda'):
            taken_up |= {'model': '_published_vit', 'default_hooks': '_published_dbscan'}
    if 'restart' in labels.stem:
        taken_up['param_scheduler'] = '_restart_schedule'
    stated = {part.targets[0].id: part.value for part in own}
    assert stated.keys() == taken_up.keys()
    # Only a backbone's start may stand beside what the setting says of the model.
    for start in (node for node in ast.walk(stated['model']) if isinstance(node, ast.keyword) and node.arg):
        assert start.arg in ('backbone', 'init_cfg', 'type', 'checkpoint')
    if isinstance(stated['model'], ast.Call):
        stated['model'] = stated['model'].keywords[-1].value
    assert {part: ast.unparse(value) for part, value in stated.items()} == {
        part: f'_base_.{name}' for part, name in taken_up.items()
    }


# Every architecture once, ViT-S with all its necks.
@pytest.mark.slow
@pytest.mark.parametrize(
    'name',
    [
        name
        for name in NAMES
        if name not in RESTARTS + PUBLISHED and (name.startswith('vit_s_m') or 'msmt' not in name)
    ],
)
def test_model_builds_and_gives_unit_features(name):
    cfg = load(f'glc/{name}.py')
    model = MODELS.build(without_pretrained(cfg.model)).eval()
    with torch.no_grad():
        features = model.extract_feat(torch.randn(2, 3, 256, 128))
    torch.testing.assert_close(features.norm(dim=1), torch.ones(2))


def published(name: str) -> str:
    """The leaf with the published labels of a setting: itself where there is only one."""
    return f'{name}_published' if f'{name}_published' in PUBLISHED else name


EXTENSIONS = {
    'camera_memory': {'model.head.memory'},
    'hybrid_memory': {
        'model.head.memory',
        'train_dataloader.sampler',
        'default_hooks.pseudo_label.labeler',
        'default_hooks.pseudo_label.corrector',
        'default_hooks.pseudo_label.min_images',
        'default_hooks.pseudo_label.reach',
    },
    'mean_teacher': {'default_hooks.mean_teacher'},
}


@pytest.mark.parametrize('leaf', [leaf for leaf in LEAVES if leaf.startswith('extensions/')])
def test_extension_changes_nothing_but_its_parts(leaf):
    part = next(part for part in EXTENSIONS if part in leaf)
    plain, extended = load(leaf.replace('extensions', 'glc').replace(f'_{part}', '')), load(leaf)
    for path in EXTENSIONS[part]:
        *parents, key = path.split('.')
        before, after = (reduce(getitem, parents, cfg) for cfg in (plain, extended))
        assert before.get(key) != after[key]
        before[key] = after[key]
    assert plain.to_dict() == extended.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize('name', TWINS)
def test_cluster_contrast_is_published_glc_minus_the_corrector(name):
    twin, corrected = load(f'cluster_contrast/{name}.py'), load(f'glc/{published(name)}.py')
    assert corrected.default_hooks.pseudo_label.corrector.type in ('GLC', 'PublishedGLC')
    assert twin.default_hooks.pseudo_label.corrector is None
    corrected.default_hooks.pseudo_label.corrector = None
    assert twin.to_dict() == corrected.to_dict()


@pytest.fixture
def trained(monkeypatch):
    """Starts tools/train.py with arguments; returns the config that it trains."""
    monkeypatch.setenv('LOCAL_RANK', '0')

    def start(*arguments: str) -> dict:
        seen = []
        monkeypatch.setattr(sys, 'argv', ['train.py', *arguments, '--work-dir', 'work_dirs/here'])
        runner = SimpleNamespace(train=lambda: seen.append('trained'))
        monkeypatch.setattr(glc.apis, 'build_runner', lambda cfg: seen.append(cfg.to_dict()) or runner)
        runpy.run_path(str(CONFIGS.parent / 'tools/train.py'), run_name='__main__')
        assert seen[1:] == ['trained']
        return seen[0]

    return start


def test_resume_keeps_the_weights_to_start_from_for_the_first_start(trained):
    """So one command serves for the first start and for all later ones."""
    config, start = str(CONFIGS / 'glc/demo_synthetic.py'), ('--cfg-options', 'load_from=weights.pth')
    cfg = trained(config, '--resume', *start)
    assert (cfg['resume'], cfg['load_from']) == ('auto', 'weights.pth')
    cfg = trained(config, '--resume', 'run/epoch_3.pth', *start)
    assert (cfg['resume'], cfg['load_from']) == (True, 'run/epoch_3.pth')
    cfg = trained(config, *start)
    assert (cfg['resume'], cfg['load_from']) == (False, 'weights.pth')


@pytest.mark.slow
@pytest.mark.parametrize('name', TWINS)
def test_an_option_of_the_command_line_removes_the_corrector(trained, name):
    option = ('--cfg-options', 'default_hooks.pseudo_label.corrector=None')
    cfg = trained(str(CONFIGS / f'glc/{published(name)}.py'), *option)
    assert cfg == trained(str(CONFIGS / f'cluster_contrast/{name}.py'))
    assert HOOKS.build(cfg['default_hooks']['pseudo_label']).corrector is None


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_differs_in_labels_only(name):
    """A multi neck leaves out its last norm as well."""
    default, other = load(f'glc/{name.removesuffix("_published")}.py'), load(f'glc/{name}.py')
    if other.model.neck.get('multi'):
        assert other.model.neck.pop('unit') is False
    default.default_hooks.pseudo_label = other.default_hooks.pseudo_label
    assert default.to_dict() == other.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize('name', RESTARTS)
def test_restart_changes_nothing_but_the_restart(name):
    restart, plain = (load(f'glc/{leaf}.py') for leaf in (name, published(name.removesuffix('_restart'))))
    assert restart.default_hooks.pop('restart') == dict(type='RestartHook', epoch=15, lr=5.5e-4)
    assert tuple(restart.default_hooks.pseudo_label.pop('frozen_epochs')) == (16, 17, 18, 19, 20)
    assert restart.param_scheduler == restart.pop('_restart_schedule')
    restart.param_scheduler = plain.param_scheduler
    assert restart.to_dict() == plain.to_dict()


TRANSREID_SSL = [f'vit_s{stem}_plain_{setting}' for stem in ('', '_ics') for setting in RECIPES]


@pytest.mark.slow
@pytest.mark.parametrize(
    'leaf',
    [f'glc/{name}' for name in PUBLISHED + RESTARTS if name.startswith('vit')]
    + [f'cluster_contrast/{name}' for name in TRANSREID_SSL],
)
def test_leaf_holds_the_numbers_of_its_recipe(leaf):
    name = Path(leaf).name
    cfg = load(f'{leaf}.py')
    eps, fusion, multi, group = next(recipe for setting, recipe in RECIPES.items() if setting in name)
    as_given = dict(unit_features=False) if multi and 'plain' not in name else {}
    assert cfg.default_hooks.pseudo_label.labeler == dict(
        type='JaccardDBSCAN', eps=eps, min_samples=4, k1=30, k2=6, **as_given
    )
    assert cfg.model.bn_group_size == group
    assert cfg.model.backbone.num_part_tokens == (0 if 'plain' in name else 3)
    assert cfg.model.neck.num_tokens == cfg.model.backbone.num_part_tokens + 1
    assert cfg.model.neck.get('fusion', 'cat') == fusion
    assert cfg.model.neck.get('multi', False) == multi
    assert cfg.model.neck.get('unit', True) != bool(as_given)
    assert (cfg.model.head.memory.mode, cfg.model.head.memory.momentum) == ('hard', 0.2)
    assert cfg.train_dataloader.sampler == dict(
        type='PseudoIdentitySampler', num_ids=32, num_instances=8, iterations=200
    )
    assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=3.5e-4, momentum=0.9, weight_decay=5e-4)
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (50, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    'leaf',
    [f'glc/{name}' for name in PUBLISHED + RESTARTS if name.startswith('resnet')]
    + [f'cluster_contrast/{name}' for name in [*TWINS, 'resnet50_veri_usl'] if name.startswith('resnet')],
)
def test_resnet_leaf_holds_the_numbers_of_cluster_contrast(leaf):
    cfg = load(f'{leaf}.py')
    assert cfg.default_hooks.pseudo_label.labeler == dict(
        type='JaccardDBSCAN', eps=0.6, min_samples=4, k1=30, k2=6
    )
    assert cfg.model.bn_group_size == 64
    assert cfg.model.neck.pool == dict(type='GeM', p=3.0, learnable=True)
    assert cfg.model.head.memory == dict(type='ClusterMemory', temperature=0.05, momentum=0.1, mode='mean')
    on_market = cfg.train_dataloader.dataset.type == 'Market1501'
    assert cfg.train_dataloader.sampler == dict(
        type='PseudoIdentitySampler', num_ids=16, num_instances=16, iterations=200 if on_market else 400
    )
    assert cfg.optim_wrapper.optimizer == dict(type='Adam', lr=3.5e-4, weight_decay=5e-4)
    if 'restart' not in leaf:
        assert cfg.param_scheduler == [dict(type='StepLR', step_size=20, gamma=0.1, by_epoch=True)]
    assert (cfg.train_cfg.max_epochs, cfg.train_cfg.val_interval) == (50, 10)


@pytest.mark.parametrize('leaf', ['glc/vit_s_market_usl_published.py', 'glc/vit_s_market_usl_restart.py'])
def test_correction_and_freezing_follow_the_released_schedule(leaf):
    hook = HOOKS.build(load(leaf).default_hooks.pseudo_label)
    restart = 'restart' in leaf
    frozen = [epoch for epoch in range(50) if not hook.labels_anew(epoch)]
    assert frozen == ([16, 17, 18, 19, 20] if restart else [])
    corrected = [epoch for epoch in range(50) if hook.corrects(epoch)]
    assert corrected == ([10, 15, 25, 30, 35, 40, 45] if restart else [10, 15, 20, 25, 30, 35, 40, 45])


@pytest.mark.parametrize(
    ('leaf', 'segments'),
    [
        ('glc/vit_s_market_usl.py', [(20, 3.5e-4), (20, 3.5e-5), (10, 3.5e-6)]),
        ('glc/vit_s_market_usl_restart.py', [(15, 3.5e-4), (15, 5.5e-4), (15, 5.5e-5), (5, 5.5e-6)]),
    ],
)
def test_learning_rate_per_epoch(leaf, segments):
    cfg = load(leaf)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [PARAM_SCHEDULERS.build(dict(step, optimizer=optimizer)) for step in cfg.param_scheduler]
    restart = cfg.default_hooks.get('restart')
    rates = []
    for epoch in range(cfg.train_cfg.max_epochs):
        if restart and epoch == restart.epoch:
            optimizer.param_groups[0]['lr'] = restart.lr
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates == pytest.approx([rate for length, rate in segments for _ in range(length)])


def test_glc_numbers_are_the_published_ones():
    corrector = LABEL_CORRECTORS.build(
        load('glc/vit_s_market_usl_published.py').default_hooks.pseudo_label.corrector
    )
    assert corrector.get_params() == GLC.published().get_params()


@pytest.mark.parametrize(
    ('registry', 'misspelt', 'right'),
    [
        (PSEUDO_LABELERS, 'JacardDBSCAN', 'JaccardDBSCAN'),
        (LABEL_CORRECTORS, 'GCL', 'GLC'),
        (MEMORY_BANKS, 'ClusterMemroy', 'ClusterMemory'),
        (PSEUDO_LABELERS, 'SelfPacedReliabilty', 'SelfPacedReliability'),
        (MODELS, 'Resnet', 'ResNet'),
        (MODELS, 'ReidNeck', 'ReIDNeck'),
        (HOOKS, 'PseudoLabelsHook', 'PseudoLabelHook'),
        (TRANSFORMS, 'RandomErase', 'RandomErasing'),
    ],
)
def test_unknown_component_suggests_the_closest(registry, misspelt, right):
    with pytest.raises(KeyError, match=rf'did you mean .*{right}'):
        registry.build(dict(type=misspelt))


@pytest.mark.slow
@pytest.mark.parametrize('name', PRETRAINING)
def test_pretraining_leaf_is_short_and_builds_its_parts(name):
    assert len((CONFIGS / 'pass' / f'{name}.py').read_text().splitlines()) <= 20
    cfg = load(f'pass/{name}.py')
    for hook in cfg.default_hooks.values():
        HOOKS.build(hook)
    loader = cfg.train_dataloader
    assert loader.sampler.batch_size == loader.batch_size
    crop, pack = (TRANSFORMS.build(step) for step in loader.dataset.pipeline[1:])
    packed = pack(crop(dict(img=np.zeros((128, 64, 3), np.uint8))))
    with torch.device('meta'):
        student = MODELS.build(cfg.model).student
    whole, local = (crops.float().to('meta') for crops in packed['inputs'].values())
    tokens = student['backbone'](whole)
    parts = student['backbone'].forward_parts(local.unflatten(0, (3, -1)))
    assert (tokens.shape[:2], parts.shape[::2]) == ((2, 4), (3, 2))
    outputs = [head(tokens[:, token]) for token, head in enumerate(student['heads'])]
    assert [output.shape for output in outputs] == [(2, cfg.model.head.num_outputs)] * 4
    assert cfg.param_scheduler[-1].end == cfg.train_cfg.max_epochs


@pytest.mark.parametrize('name', [name for name in PRETRAINING if name.endswith('luperson')])
def test_pretraining_numbers_are_the_published_ones(name):
    cfg = load(f'pass/{name}.py')
    arch, stem = {'vit_s': ('small', 'patch'), 'vit_b': ('base', 'patch'), 'vit_s_ics': ('small', 'ics')}[
        name.removesuffix('_luperson')
    ]
    backbone, head = cfg.model.backbone, cfg.model.head
    assert (backbone.arch, backbone.stem, backbone.num_part_tokens) == (arch, stem, 3)
    assert (tuple(backbone.img_size), backbone.drop_path_rate) == ((256, 128), 0.1)
    assert (head.hidden_channels, head.bottleneck_channels, head.num_outputs) == (2048, 256, 65536)
    loss = PartDistillationLoss(2, **cfg.model.distillation)
    assert (loss.student_temperature, loss.teacher_temperature, loss.centre_momentum) == (0.1, 0.04, 0.9)
    batch = 8 * (64 if arch == 'base' else 128)
    assert (cfg.train_dataloader.batch_size, cfg.train_cfg.max_epochs) == (batch, 100)
    assert cfg.model.get('bn_group_size') is None
    assert cfg.get('sync_bn') == ('torch' if stem == 'ics' else None)
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=5e-4, weight_decay=0.04)
    assert cfg.auto_scale_lr == dict(enable=True, base_batch_size=256)
    hook = HOOKS.build(cfg.default_hooks.self_distillation)
    assert (hook.teacher_momentum, hook.final_weight_decay) == (0.996, 0.4)
    assert (hook.frozen_epochs, hook.clip_norm) == (1, 3.0)

    per_epoch, lr = 4, 5e-4 * batch / 256
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=lr)
    schedulers = [
        PARAM_SCHEDULERS.get(step.pop('type')).build_iter_from_epoch(
            optimizer=optimizer,
            epoch_length=per_epoch,
            **{key: value for key, value in step.items() if key != 'convert_to_iter_based'},
        )
        for step in cfg.param_scheduler
    ]
    rates = []
    for _ in range(100 * per_epoch):
        rates.append(optimizer.param_groups[0]['lr'])
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] < 1e-8
    assert rates[20] == pytest.approx(lr / 2, rel=0.05)
    assert max(rates) == pytest.approx(lr, rel=0.01)
    assert rates[220] == pytest.approx((lr + 1e-6) / 2, rel=0.02)
    assert rates[-1] == pytest.approx(1e-6, rel=1)


@pytest.mark.slow
def test_dino_without_part_tokens_is_a_matter_of_options():
    _, command = (CONFIGS / 'pass/README.md').read_text().split('vit_s_luperson.py 8 --cfg-options')
    options = shlex.split(command.partition('```')[0].replace('\\\n', ' '))
    cfg = load('pass/vit_s_luperson.py')
    cfg.merge_from_dict(
        {key: parse_value(value) for key, _, value in (part.partition('=') for part in options)}
    )
    check_config(cfg)
    assert cfg.train_dataloader.batch_size == cfg.train_dataloader.sampler.batch_size == 8 * 64
    crop, pack = (TRANSFORMS.build(step) for step in cfg.train_dataloader.dataset.pipeline[1:])
    packed = pack(crop(dict(img=np.zeros((128, 64, 3), np.uint8))))
    assert {name: len(crops) for name, crops in packed['inputs'].items()} == {'global': 2, 'local': 8}
    with torch.device('meta'):
        student = MODELS.build(cfg.model).student
        tokens = student['backbone'].forward_crops(torch.empty(8, 3, 128, 64))
        assert (tokens.shape, len(student['heads'])) == ((8, 1, 384), 1)


@pytest.mark.parametrize('folder', ['glc', 'cluster_contrast', 'extensions', 'pass'])
def test_metafile_lists_every_leaf(folder):
    metafile = yaml.safe_load((CONFIGS / folder / 'metafile.yml').read_text())
    leaves = sorted(path.stem for path in (CONFIGS / folder).glob('*.py'))
    assert sorted(model['Config'] for model in metafile['Models']) == [
        f'configs/{folder}/{name}.py' for name in leaves
    ]
    for model in metafile['Models']:
        assert model['In Collection'] == metafile['Collections'][0]['Name']
        assert (CONFIGS.parent / model['Config']).is_file()


def test_own_images_is_a_leaf_of_a_folder_without_identities():
    assert load('own_images.py').to_dict() == load('glc/mobilenetv2_image_folder.py').to_dict()


@pytest.mark.slow
@pytest.mark.parametrize('labels', sorted(path.stem for path in (CONFIGS / '_base_/labelers').glob('*.py')))
@pytest.mark.parametrize(
    'schedule', [*sorted(path.stem for path in (CONFIGS / '_base_/schedules').glob('[!p]*.py'))]
)
def test_a_folder_of_ones_own_combines_with_all_labels_and_schedules(tmp_path, labels, schedule):
    parts = ('models/resnet10_small', 'datasets/image_folder', f'schedules/{schedule}', f'labelers/{labels}')
    leaf = tmp_path / 'leaf.py'
    leaf.write_text(f'_base_ = {[str(CONFIGS / "_base_" / f"{part}.py") for part in parts]}\n')
    cfg = glc.apis.prepare_config(Config.fromfile(leaf))
    assert cfg.default_hooks.timer
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert cfg.test_cfg == {}
    pipeline = deterministic_pipeline(cfg)
    assert [step.type for step in pipeline] == ['LoadReIDImage', 'Resize', 'PackReIDInputs']


@pytest.mark.parametrize('without', [(), ('test_pipeline',), ('test_dataloader',), ('test_cfg',)])
def test_features_need_no_test_set(without):
    cfg = load('glc/demo_synthetic.py')
    expected = cfg.test_pipeline
    cfg.val_dataloader = None
    for name in without:
        cfg[name] = None
    assert deterministic_pipeline(glc.apis.prepare_config(cfg)) == expected
    cfg.test_dataloader = cfg.test_pipeline = None
    with pytest.raises(ValueError, match='no pipeline for features: set test_pipeline'):
        deterministic_pipeline(cfg)
    cfg.default_hooks.pseudo_label.pipeline = expected
    assert deterministic_pipeline(cfg) == expected


def test_an_evaluation_that_lacks_its_metric_is_refused():
    cfg = load('glc/demo_synthetic.py')
    cfg.val_evaluator = None
    with pytest.raises(glc.apis.ConfigError, match='val_evaluator is missing'):
        glc.apis.prepare_config(cfg)
