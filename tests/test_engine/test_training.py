"""Whole runs: what the seed decides, what a resume changes (nothing), and what training lowers."""

import itertools
import multiprocessing

import pytest
import torch

from glc.apis import ConfigError
from tests.runs import HYBRID, RESTART, assert_same, records, state, tiny_config, train, write_images

pytestmark = pytest.mark.slow

# Epoch 2 keeps the labels, for which a resumed run needs the features of epoch 1; epoch 3 labels anew.
CAMERA = {
    'model.head.memory': dict(type='CameraMemory', cluster_weight=1.0),
    'default_hooks.mean_teacher': dict(type='MeanTeacherHook', momentum=0.3),
    'default_hooks.pseudo_label.frozen_epochs': [2],
}

# Workers that stay are started once, in the first epoch after a resume.
WORKERS = {
    'train_dataloader': dict(num_workers=1, persistent_workers=True),
    'val_dataloader': dict(num_workers=1, persistent_workers=True),
    'default_hooks.pseudo_label.num_workers': 1,
}

# The labels of epoch 3 are made of features of all epochs: they differ where a resumed run has lost the earlier ones.
HISTORY = {'default_hooks.pseudo_label.history': 5.0}


def test_same_seed_same_result_whatever_the_ground_truth(images, tmp_path):
    first = train(tiny_config(images, tmp_path / 'a'))
    others = set(multiprocessing.active_children())
    again = train(tiny_config(images, tmp_path / 'b', **WORKERS))
    assert set(multiprocessing.active_children()) == others, 'the run is over, its worker processes are not'
    shuffled = train(tiny_config(images, tmp_path / 'c', train_dataloader__dataset__type='ShuffledPids'))
    assert (shuffled.train_dataloader.dataset.pids != first.train_dataloader.dataset.pids).any()
    assert_same(state(first), state(again))
    assert_same(state(first), state(shuffled))
    other = train(tiny_config(images, tmp_path / 'd', randomness__seed=1))
    assert not torch.equal(state(first)['momentum'], state(other)['momentum'])


@pytest.mark.parametrize(
    ('options', 'stop'),
    [
        *itertools.product([{}, {**RESTART, 'default_hooks.pseudo_label.frozen_epochs': [3]}], [2, 3]),
        (CAMERA, 2),
        (HYBRID, 2),
        (HISTORY, 3),
        (WORKERS, 2),
        ({**RESTART, **CAMERA, 'default_hooks.pseudo_label.frozen_epochs': [3]}, 2),
    ],
)
def test_resume_equals_an_uninterrupted_run(images, tmp_path, options, stop):
    cfg = tiny_config(images, tmp_path / 'whole', train_cfg__max_epochs=4)
    cfg.merge_from_dict(options)
    whole = train(cfg)
    cfg.work_dir = str(tmp_path / 'resumed')
    resumed = train(cfg, resume=tmp_path / 'whole' / f'epoch_{stop}.pth')
    assert resumed.epoch == 4
    assert_same(state(whole), state(resumed))


def test_training_lowers_the_loss_on_fixed_labels(tmp_path):
    images = write_images(tmp_path / 'market1501', contrast=1.0)
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=6, train_dataloader__sampler__iterations=40)
    cfg.optim_wrapper.optimizer.lr = 0.02
    cfg.model.head.memory = dict(type='ClusterMemory', mode='mean', momentum=0.9, temperature=0.2)
    cfg.default_hooks.pseudo_label.frozen_epochs = list(range(1, 6))
    losses = [record['loss'] for record in records(train(cfg)) if 'loss' in record]
    assert len(losses) == 240
    assert sum(losses[-40:]) < 0.85 * sum(losses[:40])


def test_unknown_component_suggests_the_closest(images, tmp_path):
    with pytest.raises(ConfigError, match=r"labeler\.type: unknown .* did you mean 'JaccardDBSCAN'"):
        train(tiny_config(images, tmp_path, default_hooks__pseudo_label__labeler__type='JacardDBSCAN'))
