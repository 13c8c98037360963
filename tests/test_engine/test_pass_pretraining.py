"""PASS pre-training runs: schedules, frozen layers, resume, processes, and the exported teacher."""

import copy
import json
import math
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from glc.apis import training_features
from glc.engine import FeatureExtractor
from glc.registry import MODELS
from tests.runs import PASS_BACKBONE, ROOT, assert_same, pass_config, records, train
from tests.test_ddp import launch

pytestmark = pytest.mark.slow


def state(runner):
    optimizer = runner.optim_wrapper.optimizer.state_dict()
    moments = {
        f'optimizer.{key}.{name}': value
        for key, item in optimizer['state'].items()
        for name, value in item.items()
    }
    decay = torch.tensor([group['weight_decay'] for group in optimizer['param_groups']])
    return {**moments, 'decay': decay, **{k: v.clone() for k, v in runner.model.state_dict().items()}}


def test_schedules_and_resume(images, tmp_path):
    cfg = pass_config(images, tmp_path / 'whole')
    whole = train(cfg)
    cfg.work_dir = str(tmp_path / 'resumed')
    assert_same(state(whole), state(train(cfg, resume=tmp_path / 'whole' / 'epoch_2.pth')))

    logged = records(whole)
    assert len(logged) == 9
    assert all(0 < record['teacher_entropy'] <= math.log(32) for record in logged)
    rise = [0.5 * (1 - math.cos(math.pi * i / 9)) for i in range(9)]
    # The logger's window is one iteration.
    assert [r['weight_decay'] for r in logged] == pytest.approx([0.04 + 0.36 * x for x in rise])
    assert [r['teacher_momentum'] for r in logged] == pytest.approx([0.99 + 0.01 * x for x in rise])
    # 2e-3 is that of 256 images; warm-up of one epoch, which arrives at its last iteration.
    assert logged[2]['lr'] == pytest.approx(2e-3 * 8 / 256, rel=0.35)
    assert max(r['lr'] for r in logged) == pytest.approx(2e-3 * 8 / 256, rel=0.05)
    groups = whole.optim_wrapper.optimizer.param_groups
    assert groups[1]['weight_decay'] == 0
    assert all(p.ndim > 1 for p in groups[0]['params'])
    assert all(p.ndim == 1 for p in groups[1]['params'])

    first, second, initial = (
        torch.load(tmp_path / 'whole' / f'epoch_{n}.pth', weights_only=True)['state_dict'] for n in (1, 2, 1)
    )
    frozen = [name for name in first if name.startswith('student') and name.endswith('last_weight')]
    assert len(frozen) == 4
    optimizer = torch.load(tmp_path / 'whole' / 'epoch_1.pth', weights_only=True)['optimizer']
    trained = sum(len(group['params']) for group in optimizer['param_groups'])
    assert len(optimizer['state']) == trained - 4  # the last layers took no step at all in epoch 1
    for name in frozen:
        assert not torch.equal(first[name], second[name])
    for name, value in initial.items():
        if name.startswith('student.backbone'):
            assert not torch.equal(value, initial[name.replace('student', 'teacher')])


@pytest.mark.distributed
def test_two_processes_give_the_loss_of_one(images, tmp_path):
    losses, weights = {}, {}
    for processes in (1, 2):
        folder = tmp_path / f'p{processes}'
        cfg = pass_config(images, folder, **{'train_cfg.max_epochs': 2, 'model.backbone.drop_path_rate': 0.0})
        launch(cfg, folder, processes)
        (scalars,) = folder.glob('*/vis_data/scalars.json')
        logged = map(json.loads, scalars.read_text().splitlines())
        losses[processes] = [record['loss_distillation'] for record in logged]
        weights[processes] = torch.load(folder / 'epoch_2.pth', weights_only=True)['state_dict']
    assert len(losses[1]) == 6
    assert losses[2] == pytest.approx(losses[1], rel=1e-5)
    assert weights[1]['distillation.centre'].abs().max() > 0
    torch.testing.assert_close(
        weights[2]['distillation.centre'], weights[1]['distillation.centre'], atol=1e-6, rtol=1e-4
    )


def test_features_of_a_checkpoint_are_the_teachers(images, tmp_path):
    cfg = pass_config(images, tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    cfg.test_dataloader.dataset.update(data_root=str(images), check='off')
    cfg.test_dataloader.dataset.pipeline[1].scale = (16, 32)
    model = train(cfg).model
    features, dataset = training_features(cfg, str(tmp_path / 'run/epoch_1.pth'))
    torch.testing.assert_close(features, FeatureExtractor(dataset, 7, 0)(model))
    cfg.experiment_name = 'untrained'  # runs of one name that start in the same second share their loggers
    untrained, _ = training_features(cfg)
    assert (features - untrained).abs().max() > 5e-5  # a few steps of a slow teacher


def test_exported_teacher_is_the_backbone_of_a_usl_config_in_one_line(images, tmp_path, monkeypatch, capsys):
    train(pass_config(images, tmp_path / 'run', **{'train_cfg.max_epochs': 1}))
    checkpoint, out = tmp_path / 'run/epoch_1.pth', tmp_path / 'new' / 'teacher.pth'
    path = str(ROOT / 'tools/model_converters/export_teacher.py')
    monkeypatch.setattr(sys, 'argv', [path, str(checkpoint), '--out', str(out)])
    monkeypatch.setattr(sys, 'path', sys.path.copy())
    runpy.run_path(path, run_name='__main__')
    assert str(out) in capsys.readouterr().out

    state = torch.load(checkpoint, weights_only=True)['state_dict']
    cfg = Config.fromfile(ROOT / 'configs/glc/vit_s_market_usl.py')
    cfg.model.backbone.update(PASS_BACKBONE)
    cfg.model.neck.in_channels = 24
    for options in (
        {'model.backbone.init_cfg.checkpoint': str(out)},
        {'model.backbone.init_cfg.checkpoint': str(checkpoint), 'model.backbone.init_cfg.prefix': 'teacher'},
    ):
        leaf = copy.deepcopy(cfg)
        leaf.merge_from_dict(options)
        with DefaultScope.overwrite_default_scope('glc'):
            model = MODELS.build(leaf.model)
        model.init_weights()
        assert model.backbone.load_report.fraction == 1
        for name, value in model.backbone.state_dict().items():
            assert torch.equal(value, state[f'teacher.backbone.{name}']), name

    monkeypatch.setattr(sys, 'argv', [path, str(out), '--out', str(out)])
    with pytest.raises(SystemExit, match='no teacher'):
        runpy.run_path(path, run_name='__main__')
