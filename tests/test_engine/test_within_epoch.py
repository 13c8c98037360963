"""A run that goes on within an epoch is the run that was not interrupted, bit for bit."""

import copy
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch.utils.data import RandomSampler

from glc.checkpoints import load_checkpoint_file
from glc.engine import CheckpointHook
from glc.engine.hooks.pseudo_label_hook import PseudoLabelHook
from glc.registry import DATA_SAMPLERS, HOOKS
from tests.runs import (
    HYBRID,
    RESTART,
    assert_same,
    log,
    pass_config,
    source_config,
    state,
    tiny_config,
    train,
)

ITERATIONS = 3  # of an epoch
CORRECTION = {
    'default_hooks.mean_teacher': dict(type='MeanTeacherHook', momentum=0.3),
    'default_hooks.pseudo_label.corrector': dict(
        type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2
    ),
    'train_dataloader.num_workers': 2,
    'train_dataloader.persistent_workers': True,
    'train_cfg.max_epochs': 3,
}
BY_ITERATION = [
    dict(type='LinearLR', start_factor=0.1, begin=0, end=2, convert_to_iter_based=True),
    dict(type='StepLR', step_size=1, gamma=0.5),
]
CAMERA = {'model.head.memory': dict(type='CameraMemory', cluster_weight=0.5), 'train_cfg.max_epochs': 3}
# What a run is, and after which iteration it goes on.
RUNS = {
    'correction, teacher, before a restart, two workers': ({**CORRECTION, **RESTART}, 4),
    'proxies of cameras, after the restart': ({**CAMERA, **RESTART}, 8),
    'instances, schedule by iteration, first epoch': ({**HYBRID, 'param_scheduler': BY_ITERATION}, 2),
}


@HOOKS.register_module()
class CopyingHook(Hook):
    """Keeps every checkpoint within an epoch, as ``at_ITERATION.pth``."""

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Copy what the iteration before it has written."""
        for path in Path(runner.work_dir).glob('within_epoch_*.pth'):
            shutil.copy(path, path.with_name(f'at_{runner.iter}.pth'))


def copied(cfg):
    """Train with a checkpoint after every iteration, and keep them."""
    cfg.default_hooks.checkpoint.iterations = 1
    cfg.default_hooks.copying = dict(type='CopyingHook')
    return train(cfg)


def config(images, folder, options):
    cfg = tiny_config(images, folder)
    cfg.merge_from_dict({'train_dataloader.sampler.iterations': ITERATIONS, **copy.deepcopy(options)})
    return cfg


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_the_rest_of_an_epoch_is_that_of_the_uninterrupted_run(images, tmp_path, monkeypatch, name):
    options, iteration = RUNS[name]
    cfg = config(images, tmp_path / 'whole', options)
    whole = copied(cfg)
    assert not list(tmp_path.glob('whole/within*'))

    labeled, label = [], PseudoLabelHook._label
    monkeypatch.setattr(
        PseudoLabelHook, '_label', lambda self, runner: (labeled.append(runner.epoch), label(self, runner))[1]
    )
    cfg.work_dir = str(tmp_path / 'rest')
    rest = train(cfg, resume=tmp_path / 'whole' / f'at_{iteration}.pth')
    assert_same(state(whole), state(rest))
    assert (iteration - 1) // ITERATIONS not in labeled


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['source', 'pass'])
def test_trainings_without_pseudo_labels_go_on_within_an_epoch(images, tmp_path, kind):
    if kind == 'source':
        cfg = source_config(images, tmp_path / 'whole')
        cfg.train_dataloader.sampler = dict(type='RandomIdentitySampler', num_ids=4, num_instances=4)
    else:
        cfg = pass_config(images, tmp_path / 'whole')
        cfg.train_cfg.max_epochs = 2
    rest_is_the_same(cfg, tmp_path, {})


@DATA_SAMPLERS.register_module()
class PlainSampler(RandomSampler):
    """A sampler of another package: plain indices, drawn from the global random state."""

    def __init__(self, dataset, seed) -> None:
        super().__init__(dataset)


@pytest.mark.slow
def test_plain_indices_have_the_same_images_after_a_resume_with_other_workers(images, tmp_path):
    cfg = pass_config(images, tmp_path / 'whole')
    cfg.train_cfg.max_epochs = 2
    cfg.train_dataloader.sampler = dict(type='PlainSampler')
    cfg.train_dataloader.num_workers = 2
    rest_is_the_same(cfg, tmp_path, {'train_dataloader.num_workers': 0})


def rest_is_the_same(cfg, tmp_path, changes) -> None:
    whole = copied(cfg).model.state_dict()
    cfg.merge_from_dict({'work_dir': str(tmp_path / 'resumed'), **changes})
    rest = train(cfg, resume=max(tmp_path.glob('whole/at_*.pth'))).model.state_dict()
    assert_same(whole, rest)


@pytest.fixture(scope='module')
def run(images, tmp_path_factory):
    """A run with checkpoints by iteration: its config, and its state at the end."""
    cfg = config(images, tmp_path_factory.mktemp('run') / 'run', {})
    cfg.default_hooks.checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=1, max_keep_ckpts=5)
    return cfg, state(train(cfg))


def altered(run, tmp_path, iteration, change):
    """The config of the run, for another folder, and a checkpoint of it with a change."""
    cfg = copy.deepcopy(run[0])
    content = load_checkpoint_file(Path(cfg.work_dir) / f'iter_{iteration}.pth')
    change(content)
    torch.save(content, tmp_path / 'altered.pth')
    cfg.work_dir = str(tmp_path / 'other')
    return cfg, tmp_path / 'altered.pth'


@pytest.mark.slow
def test_checkpoints_by_iteration_are_kept_and_resumed_after_the_last_batch_too(run, tmp_path):
    kept = sorted(path.name for path in Path(run[0].work_dir).glob('iter_*'))
    assert kept == [f'iter_{iteration}.pth' for iteration in range(2, 7)]
    assert_same(run[1], state(train(*altered(run, tmp_path, 3, lambda content: None))))


@pytest.mark.slow
def test_another_memory_is_refused_within_an_epoch(run, tmp_path):
    def cut(content):
        content['memory']['bank'] = content['memory']['bank'][:1]

    with pytest.raises(RuntimeError, match=r"another memory bank: \{'bank': \(1, 32\)\} in the checkpoint"):
        train(*altered(run, tmp_path, 4, cut))


@pytest.mark.slow
def test_another_number_of_processes_takes_the_mean_of_their_statistics(run, tmp_path):
    def twice(content):
        (mine,) = content['meta']['within_epoch']['processes']
        other = {**mine, 'statistics': [value + 2 for value in mine['statistics']]}
        content['meta']['within_epoch']['processes'] = [mine, other]
        expected.append(mine['statistics'][0] + 1)

    expected = []
    cfg, checkpoint = altered(run, tmp_path, 3, twice)  # no batch of the epoch is left
    cfg.train_cfg.max_epochs = 1
    runner = train(cfg, checkpoint)
    assert 'this epoch was begun by 2 processes: its rest, by 1, has other dropout masks' in log(runner)
    torch.testing.assert_close(runner.model.backbone.layers[1].running_mean.cpu(), expected[0])


def hook_at(minute, monkeypatch, **options):
    hook = CheckpointHook(**options)
    monkeypatch.setattr('glc.engine.hooks.checkpoint_hook.time.monotonic', lambda: 60.0 * minute)
    return hook


def test_when_a_checkpoint_within_an_epoch_is_due(monkeypatch):
    class Runner:
        train_dataloader = range(10)

    def due(hook):
        return [batch for batch in range(10) if hook.due_within_epoch(Runner, batch)]

    assert due(hook_at(14, monkeypatch)) == []
    assert due(hook_at(15, monkeypatch)) == list(range(9))
    assert due(hook_at(15, monkeypatch, minutes=None)) == []
    assert due(hook_at(0, monkeypatch, iterations=5)) == [4]
    for name in ('iterations', 'minutes'):
        with pytest.raises(ValueError, match=rf'default_hooks\.checkpoint\.{name} must be positive or None'):
            CheckpointHook(**{name: 0})
