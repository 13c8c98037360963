"""A resume is the uninterrupted run, or is refused with both values."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn

from glc.apis import build_runner, prepare_config
from glc.engine.resume import training_set_of
from glc.engine.stored_config import differences, parse_config
from glc.registry import MODELS
from tests.runs import (
    TinyBackbone,
    assert_same,
    log,
    records,
    state,
    tiny_config,
    train,
    write_images,
)

# ---------------------------------------------------------------- configs as data

CONFIGS = [
    'configs/glc/vit_s_market_usl_restart.py',
    'configs/pass/vit_tiny_demo.py',
    'configs/source/osnet_x0_25_market_sup.py',
]


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS)
def test_the_text_of_a_config_is_read_as_it_is(path):
    cfg = Config.fromfile(path)
    parsed = parse_config(cfg.pretty_text)
    assert parsed == parse_config(f'whole = {cfg.to_dict()!r}')['whole']
    assert parsed['train_dataloader']['sampler']['type'] == cfg.train_dataloader.sampler.type
    other = Config(cfg.to_dict())
    other.merge_from_dict({'model.head.new': 3, 'work_dir': 'elsewhere', 'randomness.deterministic': True})
    found = differences(parsed, parse_config(other.pretty_text))
    assert found == [('model.head.new', 'not set', 3), ('randomness.deterministic', 'not set', True)]


def test_text_of_a_config_is_not_run(tmp_path):
    text = f"a = __import__('os').mkdir({str(tmp_path / 'mark')!r})\n"
    text += "b = dict(x=[open('y'), 1])\nc = {'d e': dict({'f g': 1})}"
    values = parse_config(text)
    assert values['a'].startswith("__import__('os')")
    assert values['b'] == {'x': ["open('y')", 1]}
    assert values['c'] == {'d e': {'f g': 1}}
    assert not (tmp_path / 'mark').exists()


def test_lists_of_dicts_differ_in_their_settings():
    old, new = ({'p': [{'type': 'A', 'x': x}, {'type': 'B'}], 's': [1, x]} for x in (1, 2))
    assert differences(old, new) == [('p.0.x', 1, 2), ('s', [1, 1], [1, 2])]


# ---------------------------------------------------------------- training sets


@pytest.mark.slow
def test_a_moved_training_set_is_the_same_and_another_one_is_not(tmp_path):
    def described(root, **options):
        cfg = tiny_config(root, tmp_path / 'run', **options)
        return training_set_of(build_runner(prepare_config(cfg)).train_dataloader.dataset)

    root = write_images(tmp_path / 'one', num_ids=2, per_camera=1)
    before = described(root)
    assert before['images'] == 4
    root = root.rename(tmp_path / 'two')
    assert described(root) == before
    assert described(root, train_dataloader__dataset__type='ShuffledPids') != before
    first, second = sorted((root / 'bounding_box_train').iterdir())[:2]
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    assert described(root) != before
    first.write_bytes(content)
    assert described(root) == before
    first.rename(first.with_name('0001_c1s1_000009_00.jpg'))
    assert described(root) != before


# ---------------------------------------------------------------- refusals


@MODELS.register_module()
class OtherBackbone(TinyBackbone):
    """One layer has another kernel, another one another name."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.layers[0] = nn.Conv2d(3, 16, 1, 2)
        self.extra = nn.BatchNorm2d(32)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The images and the config of a training of 2 epochs of 2 iterations, which is done."""
    folder = tmp_path_factory.mktemp('resume')
    images = write_images(folder / 'market1501')
    cfg = tiny_config(images, folder / 'run', train_cfg__max_epochs=2)
    train(cfg)
    return cfg


def resumed(run, tmp_path, options, checkpoint=None):
    """The runner of the training with other options, after its resume and before anything else."""
    cfg = copy.deepcopy(run)
    cfg.merge_from_dict(options)
    cfg.resume, cfg.load_from = True, str(checkpoint or Path(run.work_dir) / 'epoch_1.pth')
    cfg.work_dir, cfg.experiment_name = str(tmp_path), f'{tmp_path.name}_resumed'
    runner = build_runner(prepare_config(cfg))
    runner.call_hook('before_run')
    runner.load_or_resume()
    return runner


REFUSED = {
    'optimizer': (
        {'optim_wrapper.optimizer': dict(_delete_=True, type='AdamW', lr=0.05)},
        "optim_wrapper.optimizer.type: 'SGD' in the checkpoint, 'AdamW' in the config",
    ),
    'seed': ({'randomness.seed': 5}, 'randomness.seed: 0 in the checkpoint, 5 in this run'),
    'num_ids': (
        {'train_dataloader.sampler.num_ids': 2, 'train_dataloader.batch_size': 8},
        'train_dataloader.sampler.num_ids: 4 in the checkpoint, 2 in the config',
    ),
    'num_instances': (
        {'train_dataloader.sampler.num_instances': 2, 'train_dataloader.batch_size': 8},
        'train_dataloader.sampler.num_instances: 4 in the checkpoint, 2 in the config',
    ),
    'iterations': (
        {'train_dataloader.sampler.iterations': 3},
        'train_dataloader.sampler.iterations: 2 in the checkpoint, 3 in the config',
    ),
    'fewer images': ({'train_dataloader.dataset.indices': 40}, 'training set: 48 images .*, 40 in this run'),
    'other identities': ({'train_dataloader.dataset.type': 'ShuffledPids'}, '48 images in both, but other'),
    'groups': (
        {
            'optim_wrapper.paramwise_cfg': dict(norm_decay_mult=0),
            'optim_wrapper.optimizer.weight_decay': 1e-4,
        },
        r'parameters of the optimizer: groups of \[\d+\] in the checkpoint, of \[1, 1',
    ),
    'averaging': (
        {'default_hooks.mean_teacher': dict(type='MeanTeacherHook')},
        'averaged weights: without them in the checkpoint, with a hook that averages in the config',
    ),
    'model': (
        {'model.backbone.type': 'OtherBackbone'},
        r'another model than .* only in the config \(backbone.extra.weight \(32,\),.*'
        r'misshapen \(backbone.layers.0.weight \(16, 3, 3, 3\) != \(16, 3, 1, 1\)\)',
    ),
    'no epochs': (
        {'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=4)},
        'only a training by epochs can be resumed',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', REFUSED)
def test_another_training_is_refused_with_both_values(run, tmp_path, name):
    options, message = REFUSED[name]
    with pytest.raises(RuntimeError, match=message) as caught:
        resumed(run, tmp_path, options)
    assert 'epoch_1.pth' in str(caught.value)


@pytest.mark.slow
def test_a_training_that_is_past_its_end_is_refused(run, tmp_path):
    path = altered(run, tmp_path, lambda content: None, epoch=2)
    with pytest.raises(RuntimeError, match=r'train_cfg\.max_epochs is 1'):
        resumed(run, tmp_path, {'train_cfg.max_epochs': 1}, path)


def altered(run, tmp_path, change, epoch=1):
    content = torch.load(Path(run.work_dir) / f'epoch_{epoch}.pth', weights_only=True)
    change(content)
    torch.save(content, tmp_path / 'altered.pth')
    return tmp_path / 'altered.pth'


ALTERED = {
    'within an epoch': (
        lambda content: content['meta'].update(epoch=1, iter=3),
        r'after iteration 3, and epoch 1 of this run ends with iteration 2 \(2 per epoch\)',
    ),
    'no epoch': (lambda content: content['meta'].pop('epoch'), 'epoch None of this run'),
    'no optimizer': (lambda content: content.pop('optimizer'), r'no state .* \(no optimizer; .*load_from='),
    'other names': (
        lambda content: content.update(state_dict={f'x.{k}': v for k, v in content['state_dict'].items()}),
        r'0 tensors fit; \d+ only in the config \(backbone.layers.0.weight \(16, 3, 3, 3\),.*'
        r'only in the file \(x.backbone.layers.0.weight \(16, 3, 3, 3\)',
    ),
    'other shapes': (
        lambda content: content['state_dict'].update({'backbone.layers.0.bias': torch.ones(3)}),
        r'1 misshapen \(backbone.layers.0.bias \(3,\) != \(16,\)\)',
    ),
    'not finite': (
        lambda content: content['state_dict']['backbone.layers.0.bias'].fill_(float('nan')),
        r'1 of \d+ tensors have elements that are infinite or no number \(backbone.layers.0.bias\)',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', ALTERED)
def test_a_file_that_is_no_end_of_an_epoch_of_this_training_is_refused(run, tmp_path, name):
    change, message = ALTERED[name]
    with pytest.raises(RuntimeError, match=message):
        resumed(run, tmp_path, {}, altered(run, tmp_path, change))


# ---------------------------------------------------------------- warnings


SMALL = {
    'optim_wrapper.optimizer.lr': (
        0.5,
        'optimizer.lr: 0.05 in the checkpoint, 0.5 in the config; that of the checkpoint is used',
    ),
    'optim_wrapper.optimizer.momentum': (
        0.1,
        'optimizer.momentum: 0.9 in the checkpoint, 0.1 in the config; that of the checkpoint is used',
    ),
    'default_hooks.pseudo_label.labeler.eps': (
        0.55,
        'default_hooks.pseudo_label.labeler.eps: 0.6 in the checkpoint, 0.55 in the config; that of the config is used',
    ),
    'param_scheduler': (
        [dict(type='StepLR', step_size=1, gamma=0.1, by_epoch=True)],
        'lr 0.05 in the checkpoint, 0.005 is used after epoch 1: step_size=3 in the checkpoint, step_size=1 in the',
    ),
}


def warnings_of(runner):
    return [line.split('WARNING - ')[1] for line in log(runner).splitlines() if 'WARNING' in line]


@pytest.mark.slow
@pytest.mark.parametrize('key', SMALL)
def test_another_setting_is_one_warning_with_both_values(run, tmp_path, key):
    value, message = SMALL[key]
    (warning,) = warnings_of(resumed(run, tmp_path, {key: value}))
    assert message in warning


@pytest.mark.slow
def test_the_values_of_the_checkpoint_are_used(run, tmp_path):
    runner = resumed(run, tmp_path, {'optim_wrapper.optimizer.lr': 0.5})
    assert runner.optim_wrapper.get_lr()['lr'] == [0.05]


@pytest.mark.slow
def test_the_same_training_and_a_longer_one_warn_of_nothing(run, tmp_path):
    options = {
        'train_cfg.max_epochs': 8,
        'train_dataloader.num_workers': 1,
        'default_hooks.logger.interval': 7,
        'default_hooks.time_budget': dict(type='TimeBudgetHook'),
        'val_evaluator.same_camera': 'keep',
    }
    assert not warnings_of(resumed(run, tmp_path, options))


@pytest.mark.slow
def test_a_config_that_cannot_be_read_is_one_warning(run, tmp_path):
    for text in ('x = (', None, '(' * 10_000):
        path = altered(run, tmp_path, lambda content, text=text: content['meta'].update(cfg=text))
        folder = tmp_path / str(len(str(text)))
        folder.mkdir()
        (warning,) = warnings_of(resumed(run, folder, {}, path))
        assert warning.startswith('the config in the checkpoint cannot be read')


# ---------------------------------------------------------------- equal


@pytest.mark.slow
@pytest.mark.parametrize(
    'schedule',
    [
        [dict(type='StepLR', step_size=2, gamma=0.5, by_epoch=True)],
        [
            dict(type='LinearLR', start_factor=0.1, begin=0, end=1, convert_to_iter_based=True),
            dict(type='MultiStepLR', milestones=[2, 3], gamma=0.5),
        ],
    ],
)
def test_a_longer_training_is_the_uninterrupted_one(tmp_path, run, schedule):
    cfg = copy.deepcopy(run)
    cfg.param_scheduler = schedule
    cfg.train_cfg.max_epochs, cfg.work_dir = 4, str(tmp_path / 'whole')
    whole = train(cfg)
    cfg.train_cfg.max_epochs, cfg.work_dir = 2, str(tmp_path / 'short')
    train(cfg)
    cfg.train_cfg.max_epochs, cfg.work_dir = 4, str(tmp_path / 'resumed')
    assert_same(state(whole), state(train(cfg, resume=tmp_path / 'short' / 'epoch_2.pth')))


SAMPLERS = {
    'clusters': {'train_dataloader.sampler.iterations': None, 'train_dataloader.sampler.num_ids': 2},
    'images': {'train_dataloader.sampler': dict(_delete_=True, type='ShuffledSampler', batch_size=8)},
}


@pytest.mark.slow
@pytest.mark.parametrize('name', SAMPLERS)
def test_epochs_whose_length_follows_the_labels_are_resumed(tmp_path, run, name):
    cfg = copy.deepcopy(run)
    cfg.merge_from_dict({'train_dataloader.batch_size': 8, 'train_cfg.max_epochs': 3, **SAMPLERS[name]})
    if name == 'clusters':  # DBSCAN finds too few here
        cfg.default_hooks.pseudo_label.labeler = dict(type='KMeansLabeler', num_clusters=6)
    cfg.work_dir = str(tmp_path / 'whole')
    whole = train(cfg)
    path = tmp_path / 'whole' / 'epoch_2.pth'
    cfg.work_dir = str(tmp_path / 'resumed')
    assert_same(state(whole), state(train(cfg, resume=path)))
    content = torch.load(path, weights_only=True)
    assert content['meta']['epoch_end'] == [2, content['meta']['iter']]
    content['meta']['iter'] -= 1
    torch.save(content, tmp_path / 'within.pth')
    cfg.work_dir = str(tmp_path / 'refused')
    with pytest.raises(RuntimeError, match='ends with iteration unknown'):
        train(cfg, resume=tmp_path / 'within.pth')


@pytest.mark.slow
@pytest.mark.parametrize(('epoch', 'interval', 'scores'), [(2, 100, 1), (1, 1, 2), (1, 2, 1)])
def test_the_evaluation_that_a_stop_has_cost_is_made_up_for(run, tmp_path, epoch, interval, scores):
    def as_before_its_evaluation(content):
        for name in ('evaluated', 'best_score', 'best_ckpt'):
            content['message_hub']['runtime_info'].pop(name, None)

    path = altered(run, tmp_path, as_before_its_evaluation, epoch)
    cfg = copy.deepcopy(run)
    cfg.work_dir, cfg.train_cfg.val_interval = str(tmp_path), interval
    runner = train(cfg, resume=path)
    assert runner.epoch == 2
    found = [record['step'] for record in records(runner) if 'reid/mAP' in record]
    assert found == [1, 2][-scores:]
    assert list(tmp_path.glob('best_reid_mAP_epoch_*.pth'))
