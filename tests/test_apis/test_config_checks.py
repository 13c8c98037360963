"""Every kind of wrong value is named with its path before anything is built."""

import copy
import re

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.hooks import EMAHook, Hook

from glc.apis import ConfigError, build_for_test, check_config, load_config, prepare_config
from glc.apis.config_checks import check_image_sizes, check_launcher
from glc.registry import HOOKS
from tests.runs import ROOT, pass_config, source_config, tiny_config

CONFIGS = sorted(
    path.relative_to(ROOT / 'configs').as_posix()
    for path in (ROOT / 'configs').rglob('*.py')
    if not {'_base_', 'my'} & set(path.parts)
)
SAMPLER = 'train_dataloader.sampler'
HOOK = 'default_hooks.pseudo_label'

# What is set, and what the message has beside the path.
WRONG_VALUES = [
    ('train_cfg.max_epochs', 0, 'Got 0'),
    ('train_cfg.max_epochs', -3, 'Got -3'),
    ('train_cfg.max_epochs', 1.5, '1.5'),
    ('train_cfg.max_epochs', 'ten', "'ten'"),
    ('train_cfg.max_epochs', None, 'None'),
    ('train_cfg.max_epochs', [5], r'\[5\]'),
    ('train_cfg.val_interval', 0, 'Got 0'),
    ('train_cfg.val_interval', True, 'True'),
    ('train_cfg.max_epoch', 5, "did you mean 'max_epochs'"),
    ('train_dataloader.batch_size', 0, 'Got 0'),
    ('train_dataloader.batch_size', '16', "'16'"),
    ('train_dataloader.batch_size', 20, 'must be 16'),
    ('train_dataloader.bach_size', 16, "did you mean 'batch_size'"),
    ('train_dataloader.num_workers', -1, 'Got -1'),
    ('test_dataloader.num_workers', 0.5, '0.5'),
    ('val_dataloader.dataset', None, 'is missing'),
    (f'{SAMPLER}.iterations', 0, 'Got 0'),
    (f'{SAMPLER}.iterations', 1e3, '1000.0'),
    (f'{SAMPLER}.num_ids', -4, 'Got -4'),
    (f'{SAMPLER}.num_instances', 'four', "'four'"),
    (f'{SAMPLER}.type', 'PseudoIdentitySampeler', "did you mean 'PseudoIdentitySampler'"),
    (f'{SAMPLER}.num_id', 4, "did you mean 'num_ids'"),
    ('train_dataloader.dataset.type', 'Market1502', "did you mean 'Market1501'"),
    ('train_dataloader.dataset.type', None, 'is missing'),
    ('train_dataloader.dataset.type', 5, 'must be the name'),
    ('train_dataloader.dataset.data_rot', 'x', "did you mean 'data_root'"),
    ('train_dataloader.dataset.data_root', 5, 'must be str'),
    ('train_dataloader.dataset.pipeline', [], 'pipeline is missing'),
    ('train_dataloader.dataset.pipeline.1.type', 'Resise', "did you mean 'Resize'"),
    ('train_dataloader.dataset.pipeline.2.probability', 0.5, 'RandomFlip has no such argument'),
    ('model', 'UnsupervisedReID', 'must be a dict with a type'),
    ('model.backbone', 'OSNet', 'must be'),
    ('model.backbone.type', 'TinyBackbon', "did you mean 'TinyBackbone'"),
    ('model.backbone.dropot', 0.5, "did you mean 'dropout'"),
    ('model.backbone.dropout', 'much', 'must be float'),
    ('model.head.memory.type', 'ClusterMemori', "did you mean 'ClusterMemory'"),
    ('model.hed', 5, "did you mean 'head'"),
    ('model.bn_group_size', 0, 'Got 0'),
    ('optim_wrapper.optimizer.type', 'SDG', "did you mean 'SGD'"),
    ('optim_wrapper.optimizer.lr', '1e-3x', '1e-3x'),
    ('optim_wrapper.optimizer.lr', -0.1, 'Got -0.1'),
    ('optim_wrapper.optimizer.learning_rate', 0.1, 'SGD has no such argument'),
    ('optim_wrapper.type', 'AmpOptimizerWrapper', "'AmpOptimWrapper'"),
    ('param_scheduler.0.step_size', 0, 'Got 0'),
    ('param_scheduler.0.stepsize', 3, "did you mean 'step_size'"),
    ('param_scheduler.0.type', 'StepLRR', "did you mean 'StepLR'"),
    ('param_scheduler', 'StepLR', 'must be a dict'),
    ('val_evaluator.type', 'ReIDMetrics', "did you mean 'ReIDMetric'"),
    ('val_evaluator.re_rank', True, "did you mean 'rerank'"),
    ('default_hooks.checkpoint.interval', 0, 'Got 0'),
    ('default_hooks.checkpoint.save_best', 'reid/MAP', "did you mean 'reid/mAP'"),
    ('default_hooks.checkpoint.save_best', 1.5, 'save_best of CheckpointHook must be Union'),
    ('default_hooks.checkpoint.save_best', ['reid/mAP', 'reid/rank20'], "'reid/rank20'"),
    ('default_hooks.logger.interval', 'often', "'often'"),
    ('default_hooks.pseudo_labels', dict(interval=2), 'type is missing'),
    (f'{HOOK}.labeler', 'JaccardDBSCAN', 'must be'),
    (f'{HOOK}.labeler.type', 'JacardDBSCAN', "did you mean 'JaccardDBSCAN'"),
    (f'{HOOK}.labeler.epsilon', 0.6, 'JaccardDBSCAN has no such argument'),
    (f'{HOOK}.corrector', dict(type='GCL'), "'GLC'"),
    (f'{HOOK}.intervall', 1, "did you mean 'interval'"),
    (f'{HOOK}.num_workers', -1, 'Got -1'),
    ('randomness.seed', 'zero', "'zero'"),
    ('randomness.sed', 1, "did you mean 'seed'"),
    ('log_level', 'LOUD', "'LOUD'"),
    ('load_from', 5, 'Got 5'),
    ('env_cfg.dist_cfg.timeout', -1, 'Got -1'),
    ('env_cfg.cudnn_benchmrk', True, "did you mean 'cudnn_benchmark'"),
    ('env_cfg.dist_cfg.timeot', 60, "did you mean 'timeout'"),
    ('env_cfg.mp_cfg.start_method', 'fork', "did you mean 'mp_start_method'"),
    ('optim_wrapper.paramwise_cfg', dict(bias_lr_mul=2), "did you mean 'bias_lr_mult'"),
    ('default_hooks.loger', dict(interval=5), "did you mean 'logger'"),
    ('train_dataloadr', dict(batch_size=5), "did you mean 'train_dataloader'"),
    (
        'val_evaluator.rerank',
        dict(k11=3),
        "k11=3: KReciprocalReranking has no such argument; did you mean 'k1'",
    ),
    ('test_evaluator.query_expansion', dict(alfa=3), "did you mean 'alpha'"),
    ('train_dataloder', dict(batch_size=4), "nothing reads this key; did you mean 'train_dataloader'"),
    ('max_epochs', 77, "max_epochs: nothing reads this key; did you mean 'train_cfg.max_epochs'"),
    (
        'data_root',
        'data/other',
        "nothing reads this key; did you mean 'train_dataloader.dataset.data_root' or '",
    ),
    (
        f'{HOOK}.labeler',
        dict(type='JaccardMapEquation'),
        r'eps, min_samples of JaccardDBSCAN.* may be inherited. Add _delete_=True, .*=dict\(_delete_=True, type=',
    ),
]


@pytest.mark.parametrize(('key', 'value', 'said'), WRONG_VALUES)
def test_a_wrong_value_is_named_with_its_path(key, value, said, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.merge_from_dict({key: value})
    with pytest.raises(ConfigError) as caught:
        check_config(cfg)
    assert key in str(caught.value)
    assert re.search(said, str(caught.value))


@pytest.mark.parametrize(
    'key',
    [
        *('model', 'train_cfg', 'train_dataloader', 'optim_wrapper', 'val_dataloader', 'val_evaluator'),
        *(
            'test_cfg',
            'train_dataloader.dataset',
            'train_dataloader.sampler',
            'train_dataloader.dataset.type',
        ),
        *('train_dataloader.dataset.pipeline', 'train_dataloader.dataset.data_root', 'model.backbone'),
        *('model.head', 'model.head.memory', 'model.neck.type', 'optim_wrapper.optimizer'),
        *('train_cfg.max_epochs', 'param_scheduler.0.step_size', f'{HOOK}.labeler', f'{HOOK}.labeler.type'),
        *('val_dataloader.dataset', 'test_dataloader.sampler', 'train_dataloader.batch_size'),
    ],
)
def test_what_is_missing_is_named(key, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    *parents, last = key.split('.')
    node = cfg
    for parent in parents:
        node = node[int(parent)] if parent.isdigit() else node[parent]
    node.pop(last)
    with pytest.raises(ConfigError, match=rf'{re.escape(key)}.*is missing'):
        check_config(cfg)


def test_all_errors_are_told_at_once(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path, train_cfg__max_epochs=0, train_cfg__val_interval='x')
    cfg.optim_wrapper = None
    with pytest.raises(ConfigError, match=r'(?s)optim_wrapper.*max_epochs.*val_interval') as caught:
        check_config(cfg)
    assert str(caught.value).startswith('4 errors')  # the text is no interval, and no int of the loop


@pytest.mark.parametrize('config', CONFIGS)
def test_configs_of_the_project_are_right(config):
    check_config(Config.fromfile(ROOT / 'configs' / config))


@pytest.mark.parametrize('config', [tiny_config, source_config, pass_config])
def test_small_configs_are_right(config, tmp_path):
    check_config(config(tmp_path, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    'options',
    [
        {
            'batch_size': 16,
            'own_number': 5,
        },  # the number is that of test_dataloader, which the file may have read
        {
            'interpolation': 'bicubic',
            'data_root': 'data',
            'own_text': 'data/market1501',
        },  # the file read both
        {'param_scheduler': None},
        {'param_scheduler': dict(_delete_=True, type='StepLR', step_size=3)},
        {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None},
        {'test_cfg': None, 'test_dataloader': None, 'test_evaluator': None},
        {'val_evaluator': [dict(type='ReIDMetric')]},
        {
            'val_evaluator': dict(_delete_=True, metrics=[dict(type='ReIDMetric', prefix='a')]),
            'default_hooks.checkpoint.save_best': 'a/mAP',
        },
        {'val_evaluator.rerank': True, 'default_hooks.checkpoint.save_best': 'reid/rerank_mAP'},
        {'default_hooks.checkpoint.save_best': 'auto'},
        {'default_hooks.checkpoint.save_best': None},
        {'default_hooks.checkpoint.interval': -1},
        {'default_hooks.timer': None},
        {'custom_hooks': [dict(type='EarlyStoppingHook', monitor='reid/mAP', priority='LOW')]},
        {'custom_hooks': [dict(type='mmengine.EmptyCacheHook')]},
        {'custom_hooks': [dict(type=Hook)]},
        {'custom_hooks': [dict(type='tests.test_apis.test_config_checks.OwnHook', anything=5)]},
        {'train_dataloader.dataset': dict(type='ConcatDataset', datasets=[])},
        {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=5)},
        {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True},
        {'optim_wrapper': dict(type='AmpOptimWrapper', loss_scale='dynamic', clip_grad=dict(max_norm=1))},
        {'optim_wrapper.paramwise_cfg': dict(bias_lr_mult=2.0)},
        {'model.backbone': dict(_delete_=True, type='TimmBackbone', model_name='resnet18', output_stride=16)},
        {'model.backbone._scope_': 'mmpretrain'},
    ],
)
def test_what_works_is_not_refused(options, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.merge_from_dict(options)
    if isinstance(cfg.train_dataloader.dataset.get('datasets'), list):
        cfg.train_dataloader.dataset = dict(
            type='ConcatDataset', datasets=[tiny_config(tmp_path, tmp_path).train_dataloader.dataset]
        )
    check_config(cfg)


class OwnHook(Hook):
    """A hook of a user, who takes arguments in his own way."""

    def __init__(self, **kwargs):
        self.anything = kwargs.pop('anything')


class OwnMetric(BaseMetric):
    """A metric that does not tell its scores."""

    def process(self, data_batch, data_samples): ...

    def compute_metrics(self, results): ...


class OwnDataset(BaseDataset):
    """A data set of a user."""

    def __init__(self, split: 'Literal["train"]', **kwargs):  # noqa: F821
        super().__init__(**kwargs)


def test_a_number_of_the_training_may_stand_at_the_top_of_an_evaluation(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path, batch_size=16, test_dataloader__batch_size=5)
    cfg.val_dataloader = None
    check_config(cfg, training=False)


def test_components_of_users_are_checked_as_far_as_they_are_known(tmp_path):
    here = 'tests.test_apis.test_config_checks'
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.val_evaluator = dict(type=f'{here}.OwnMetric')
    cfg.default_hooks.checkpoint.save_best = 'own/score'
    cfg.train_dataloader.dataset.type = f'{here}.OwnDataset'
    del cfg.train_dataloader.dataset['check']
    check_config(cfg)
    cfg.train_dataloader.dataset.data_rot = 'x'
    with pytest.raises(
        ConfigError, match="data_rot='x': OwnDataset has no such argument; did you mean 'data_root'"
    ):
        check_config(cfg)


@pytest.mark.parametrize(
    ('hook', 'better'), [('EMAHook', 'MeanTeacherHook'), ('SyncBuffersHook', 'AverageBatchNormHook')]
)
@pytest.mark.parametrize('place', ['custom_hooks', 'default_hooks'])
def test_hooks_that_break_labels_are_refused(hook, better, place, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.merge_from_dict(
        {'custom_hooks': [dict(type=hook)]}
        if place == 'custom_hooks'
        else {'default_hooks.own': dict(type=hook)}
    )
    with pytest.raises(ConfigError, match=f'{place}.*{hook}.*use {better}'):
        check_config(cfg)
    assert issubclass(HOOKS.get('MeanTeacherHook'), EMAHook)


# Image sizes


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'train_dataloader.dataset.pipeline.3.size': (48, 96)}, r'48 x 96: train_.*\(PadRandomCrop.size\)'),
        ({'val_dataloader.dataset.pipeline.1.scale': (48, 96)}, r'48 x 96: val_dataloader.*\(Resize.scale\)'),
        ({'test_dataloader.dataset.pipeline.1.scale': 64}, '64 x 64: test_dataloader'),
        (
            {
                f'{HOOK}.pipeline': [
                    dict(type='LoadReIDImage'),
                    dict(type='Resize', scale=(16, 32)),
                    dict(type='PackReIDInputs'),
                ]
            },
            r'16 x 32: default_hooks.pseudo_label.pipeline.1 \(Resize.scale\)',
        ),
        (
            {'model.backbone': dict(_delete_=True, type='PASSViT', img_size=(32, 64))},
            '64 x 32: model.backbone.img_size',
        ),
        ({'model.backbone': dict(_delete_=True, type='PASSViT')}, '128 x 256: model.backbone.img_size'),
    ],
)
def test_different_image_sizes_are_named_with_their_keys(options, said, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.merge_from_dict(options)
    with pytest.raises(ConfigError, match=rf'{said}.*mixed_image_sizes=True'):
        check_config(cfg)
    cfg.mixed_image_sizes = True
    check_config(cfg)


@pytest.mark.slow
@pytest.mark.parametrize('key', ['pipeline.1.scale', 'pipeline.3.size', 'model.backbone.img_size'])
@pytest.mark.parametrize('size', [[], (64,), (64, 128, 3), (0, 128), (64, -1), (64.5, 128)])
def test_what_is_no_image_size_is_refused(key, size, tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    key = key if key.startswith('model') else f'train_dataloader.dataset.{key}'
    cfg.merge_from_dict({'model.backbone': dict(_delete_=True, type='PASSViT'), key: size})
    with pytest.raises(ConfigError, match=rf'{key}={re.escape(repr(size))} is no size: give one integer'):
        check_config(cfg)


@pytest.mark.parametrize('kind', [[[]], None, 3])
def test_a_step_without_a_name_is_named(kind):
    options = {'test_dataloader.dataset.pipeline.2.type': kind}
    with pytest.raises(ConfigError, match=r'test_dataloader\.dataset\.pipeline\.2'):
        check_config(load_config(str(ROOT / 'configs/glc/vit_s_market_usl.py'), options))


def test_a_network_of_one_size_is_tested_at_another(tmp_path):
    options = {'model.backbone.img_size': (384, 128), 'test_dataloader.dataset.pipeline.1.scale': (128, 384)}
    cfg = load_config(str(ROOT / 'configs/glc/vit_s_market_usl.py'), options)
    check_config(cfg, training=False)
    with pytest.raises(
        ConfigError, match=r'128 x 384: model.backbone.img_size, test_dataloader.*128 x 256: train'
    ):
        check_config(cfg)
    for half in options.items():
        with pytest.raises(ConfigError, match='images of different sizes'):
            load_config(str(ROOT / 'configs/glc/vit_s_market_usl.py'), dict([half]))


def test_sizes_that_are_not_known_are_not_compared(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.train_dataloader.dataset.pipeline[3] = dict(type='CenterCrop', crop_size=(8, 8))
    check_image_sizes(cfg)
    cfg = pass_config(tmp_path, tmp_path)
    cfg.train_dataloader.dataset.pipeline[1].global_size = (32, 64)
    with pytest.raises(ConfigError, match=r'32 x 64: .*\(PartMultiCrop.global_size\)'):
        check_image_sizes(cfg)


def test_an_option_that_changes_the_size_in_one_place_is_refused():
    options = {f'{part}_dataloader.dataset.pipeline.1.scale': (96, 192) for part in ('train', 'test')}
    with pytest.raises(ConfigError, match=r'PadRandomCrop\.size'):
        load_config(str(ROOT / 'configs/glc/demo_synthetic.py'), options)


# Options, test and launcher


@pytest.mark.parametrize(
    ('option', 'said'),
    [
        ({'trian_cfg.max_epochs': 5}, "no key 'trian_cfg'; did you mean 'train_cfg'"),
        ({'epochs': 5}, "option epochs=5: a config has no key 'epochs'"),
        (
            {'train_dataloader.dataset.pipeline.9.scale': 5},
            'option train_dataloader.dataset.pipeline.9.scale=5',
        ),
        ({'model.type.name': 'x'}, "option model.type.name='x'"),
    ],
)
def test_options_without_a_place_are_refused(option, said):
    with pytest.raises(ConfigError, match=said):
        load_config(str(ROOT / 'configs/glc/demo_synthetic.py'), option)


def test_options_of_the_runner_need_no_key_in_the_file():
    cfg = load_config(
        str(ROOT / 'configs/glc/demo_synthetic.py'), {'experiment_name': 'a', 'custom_hooks': []}
    )
    assert cfg.experiment_name == 'a'
    assert cfg.custom_hooks == []


def test_evaluation_asks_for_what_it_needs_only(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=0, train_dataloader__batch_size=7)
    cfg.optim_wrapper = cfg.val_evaluator = None
    cfg.test_dataloader.persistent_workers = True
    cfg.test_dataloader.prefetch_factor = 2
    for part in ('train_cfg', 'default_scope'):
        cfg.pop(part)
    scores = build_for_test(copy.deepcopy(cfg), None, evaluating=True).test()
    assert scores['reid/mAP'] > 0
    cfg.test_evaluator = None
    with pytest.raises(ConfigError, match='test_evaluator is missing: evaluation needs test_dataloader'):
        build_for_test(cfg, None, evaluating=True)


def test_only_training_shares_the_batch(tmp_path, monkeypatch):
    monkeypatch.setattr('glc.apis.build.get_world_size', lambda: 3)
    cfg = tiny_config(tmp_path, tmp_path)
    prepare_config(cfg, training=False)
    assert cfg.train_dataloader.batch_size == 16
    with pytest.raises(ValueError, match='16 images cannot be shared by 3 processes'):
        prepare_config(cfg)


@pytest.mark.parametrize(
    ('launcher', 'set_variables', 'said'),
    [
        ('pytorch', {}, 'no RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT. Start the processes with torchrun'),
        ('pytorch', {'RANK': '0', 'WORLD_SIZE': '1', 'MASTER_ADDR': 'x'}, 'no MASTER_PORT'),
        ('slurm', {'SLURM_PROCID': '0'}, 'no SLURM_NTASKS, SLURM_NODELIST. Start the processes with srun'),
        ('mpi', {}, 'OMPI_COMM_WORLD_LOCAL_RANK.*mpirun'),
        ('none', {'TORCHELASTIC_RUN_ID': 'x', 'WORLD_SIZE': '4'}, '4 processes.*--launcher pytorch'),
    ],
)
def test_a_launcher_that_started_nothing_is_named(launcher, set_variables, said, monkeypatch):
    for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'TORCHELASTIC_RUN_ID'):
        monkeypatch.delenv(name, raising=False)
    for name, value in set_variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        check_launcher(launcher)
    monkeypatch.undo()
    check_launcher('none')


def test_a_misspelled_argument_is_not_taken_for_an_inherited_one(tmp_path):
    cfg = tiny_config(tmp_path, tmp_path)
    cfg.merge_from_dict({f'{HOOK}.labeler.epss': 0.5})
    with pytest.raises(
        ConfigError, match=r"epss=0\.5: JaccardDBSCAN has no such argument; did you mean 'eps'"
    ) as caught:
        check_config(cfg)
    assert '_delete_' not in str(caught.value)
