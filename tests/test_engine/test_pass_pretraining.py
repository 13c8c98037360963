"""PASS pre-training runs: schedules, frozen layers, resume, processes, and the exported teacher."""

import copy
import json
import math
import runpy
import sys
import types

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from glc.apis import build_runner, prepare_config, training_features
from glc.engine import FeatureExtractor, SelfDistillationHook
from glc.registry import MODELS
from tests.runs import ROOT, assert_same, train, write_images
from tests.test_ddp import launch

pytestmark = pytest.mark.slow

BACKBONE = dict(
    type='PASSViT', arch=dict(dim=24, depth=2, heads=2), img_size=(32, 16), patch_size=8, stride=8
)


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data') / 'market1501')


def pass_config(images, work_dir, **options):
    cfg = Config.fromfile(ROOT / 'configs/pass/vit_tiny_market_cpu.py')
    cfg.merge_from_dict(
        {
            'model.backbone': dict(
                BACKBONE, arch=dict(_delete_=True, **BACKBONE['arch']), drop_path_rate=0.1
            ),
            'model.head': dict(hidden_channels=16, bottleneck_channels=8, num_outputs=32),
            'train_dataloader.batch_size': 8,
            'train_dataloader.sampler.batch_size': 8,
            'train_dataloader.dataset': dict(data_root=str(images), check='off', indices=24),
            'default_hooks.logger.interval': 1,
            'default_hooks.checkpoint.max_keep_ckpts': -1,
            'default_hooks.self_distillation.frozen_epochs': 1,
            'train_cfg.max_epochs': 3,
            'work_dir': str(work_dir),
            **options,
        }
    )
    crop = cfg.train_dataloader.dataset.pipeline[1]
    crop.global_size, crop.local_size = (16, 32), (8, 16)
    cfg.experiment_name = work_dir.name
    return cfg


def records(work_dir):
    (scalars,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in scalars.read_text().splitlines()]


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

    logged = records(tmp_path / 'whole')
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


def test_a_step_of_the_teacher_and_clipping(images, tmp_path):
    """The first iteration by hand: gradient limited per tensor, AdamW, then the teacher's average."""
    cfg = pass_config(images, tmp_path, **{'train_cfg.max_epochs': 1})
    cfg.train_dataloader.dataset.indices = 8
    cfg.default_hooks.self_distillation.clip_norm = 1e-3
    cfg.model.backbone.drop_path_rate = 0.0
    cfg.param_scheduler = []
    runner = build_runner(prepare_config(copy.deepcopy(cfg)))
    loader = runner.build_dataloader(cfg.train_dataloader, seed=runner.seed)
    by_hand = copy.deepcopy(runner.model)
    (batch,) = list(loader)
    runner.train()

    batch = by_hand.data_preprocessor(batch, True)
    by_hand.loss(batch['inputs'])['loss_distillation'].backward()
    last = {id(weight) for weight in by_hand.last_layers()}
    before = {name: p.detach().clone() for name, p in by_hand.student.named_parameters()}
    after = dict(runner.model.student.named_parameters())
    teacher = dict(runner.model.teacher.named_parameters())
    lr = 2e-3 * 8 / 256
    for name, parameter in by_hand.student.named_parameters():
        if id(parameter) in last:
            expected = before[name]
        else:
            grad = parameter.grad * min(1, 1e-3 / (parameter.grad.norm() + 1e-6))
            decay = 0.04 if parameter.ndim > 1 else 0.0
            # The first step of Adam: both moments are corrected to the gradient itself.
            expected = before[name] * (1 - lr * decay) - lr * grad / (grad.abs() + 1e-8)
        torch.testing.assert_close(after[name].detach(), expected, atol=2e-6, rtol=1e-3)
        torch.testing.assert_close(teacher[name], 0.99 * before[name] + 0.01 * after[name].detach())


def test_gradients_are_unscaled_when_they_are_limited():
    """Under a loss scale of 1,024 the limit acts on the gradient itself, and the frozen layer takes no step."""
    trained, frozen = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = torch.optim.SGD([trained, frozen], lr=1.0)
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(last_layers=lambda: [frozen]),
        optim_wrapper=types.SimpleNamespace(optimizer=optimizer),
        epoch=0,
    )
    SelfDistillationHook(clip_norm=3.0).before_train(runner)
    scaler = torch.amp.GradScaler('cpu', init_scale=1024.0)
    for factor, moved in ((1.0, [-1.0, -2.0]), (10.0, [-1.0 - 3 / 5**0.5, -2.0 - 6 / 5**0.5])):
        optimizer.zero_grad()
        scaler.scale((torch.tensor([1.0, 2.0]) * factor * (trained + frozen)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert trained.tolist() == pytest.approx(moved)
        assert frozen.tolist() == [0.0, 0.0]


def test_a_loss_that_is_no_number_stops_the_run():
    runner = types.SimpleNamespace(
        model=types.SimpleNamespace(update_teacher=lambda momentum: None),
        message_hub=types.SimpleNamespace(update_scalar=lambda name, value: None),
        iter=0,
        max_iters=2,
    )
    hook = SelfDistillationHook(check_interval=2)
    for index, loss in ((0, math.nan), (1, 7.0)):  # looked at in every second iteration
        hook.after_train_iter(runner, index, outputs={'loss': torch.tensor(loss)})
    with pytest.raises(RuntimeError, match='nan'):
        hook.after_train_iter(runner, 1, outputs={'loss': torch.tensor(math.nan)})


@pytest.mark.distributed
def test_two_processes_give_the_loss_of_one(images, tmp_path):
    losses, weights = {}, {}
    for processes in (1, 2):
        folder = tmp_path / f'p{processes}'
        cfg = pass_config(images, folder, **{'train_cfg.max_epochs': 2, 'model.backbone.drop_path_rate': 0.0})
        launch(cfg, folder, processes)
        losses[processes] = [record['loss_distillation'] for record in records(folder)]
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
    cfg.model.backbone.update(BACKBONE)
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
