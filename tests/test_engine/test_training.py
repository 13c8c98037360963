"""Whole runs: seeds, resume, restart, frozen labels, ground truth."""

import itertools
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from glc.apis import build_runner, load_for_test, prepare_config
from glc.engine import FeatureExtractor, MeanTeacherHook, PseudoLabelHook
from glc.models import UnsupervisedReID
from tests.runs import assert_same, state, tiny_config, train, write_images
from tests.test_core.foreign_device import FOREIGN, ForeignDevice


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('data') / 'market1501')


@pytest.fixture
def extractions(monkeypatch):
    """Epochs in which features were extracted."""
    epochs = []
    original = PseudoLabelHook._label

    def counted(self, runner: Runner):
        epochs.append(runner.epoch)
        return original(self, runner)

    monkeypatch.setattr(PseudoLabelHook, '_label', counted)
    return epochs


def records(runner: Runner, work_dir: Path) -> list[dict]:
    """Logged scalars of a run."""
    lines = (work_dir / runner.timestamp / 'vis_data' / 'scalars.json').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_same_seed_same_result_whatever_the_ground_truth(images, tmp_path):
    first = train(tiny_config(images, tmp_path / 'a'))
    again = train(tiny_config(images, tmp_path / 'b', train_dataloader__num_workers=2))
    shuffled = train(tiny_config(images, tmp_path / 'c', train_dataloader__dataset__type='ShuffledPids'))
    assert (shuffled.train_dataloader.dataset.pids != first.train_dataloader.dataset.pids).any()
    assert_same(state(first), state(again))
    assert_same(state(first), state(shuffled))
    other = train(tiny_config(images, tmp_path / 'd', randomness__seed=1))
    assert not torch.equal(state(first)['momentum'], state(other)['momentum'])


RESTART = {
    'default_hooks.restart': dict(type='RestartHook', epoch=2, lr=0.02),
    'param_scheduler': [
        dict(type='StepLR', begin=0, end=2, step_size=1, gamma=0.5, by_epoch=True),
        dict(type='StepLR', begin=2, end=4, step_size=1, gamma=0.1, by_epoch=True),
    ],
}


RELIABLE = dict(
    type='SelfPacedReliability',
    gap=0.1,
    labeler=dict(type='JaccardDBSCAN', eps=0.6, k1=6, k2=2, min_samples=2),
)
# Epoch 2 keeps the labels, for which a resumed run needs the features of epoch 1; epoch 3 labels anew.
CAMERA = {
    'model.head.memory': dict(type='CameraMemory', cluster_weight=1.0),
    'default_hooks.mean_teacher': dict(type='MeanTeacherHook', momentum=0.3),
    'default_hooks.pseudo_label.frozen_epochs': [2],
}
HYBRID = {
    'model.head.memory': dict(type='HybridMemory'),
    'train_dataloader.sampler.outlier_groups': 1,
    'default_hooks.pseudo_label.frozen_epochs': [2],
}


def merged(cfg: Config, options: dict) -> Config:
    """The config with these options, and with reliable labels where the memory is the hybrid one."""
    cfg.merge_from_dict(options)
    if options is HYBRID:
        cfg.default_hooks.pseudo_label.labeler = RELIABLE
    return cfg


@pytest.mark.parametrize(
    ('options', 'stop'),
    [
        *itertools.product([{}, {**RESTART, 'default_hooks.pseudo_label.frozen_epochs': [3]}], [2, 3]),
        (CAMERA, 2),
        (HYBRID, 2),
        ({**RESTART, **CAMERA, 'default_hooks.pseudo_label.frozen_epochs': [3]}, 2),
    ],
)
def test_resume_equals_an_uninterrupted_run(images, tmp_path, options, stop):
    cfg = merged(tiny_config(images, tmp_path / 'whole', train_cfg__max_epochs=4), options)
    whole = train(cfg)
    cfg.work_dir = str(tmp_path / 'resumed')
    resumed = train(cfg, resume=tmp_path / 'whole' / f'epoch_{stop}.pth')
    assert resumed.epoch == 4
    assert_same(state(whole), state(resumed))


def test_checkpoints_load_without_running_code(images, tmp_path):
    train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    labels = checkpoint['pseudo_labels']['labels']
    assert len(labels) == 48
    assert checkpoint['pseudo_labels']['centroids'].shape == (labels.max() + 1, 32)
    assert not [name for name in checkpoint['state_dict'] if 'bank' in name or 'pseudo_labels' in name]


def test_frozen_epochs_keep_labels_and_centroids(images, tmp_path, extractions):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    cfg.default_hooks.pseudo_label.frozen_epochs = [2, 3]
    train(cfg)
    assert extractions == [0, 1]
    second, last = (torch.load(tmp_path / f'epoch_{n}.pth')['pseudo_labels'] for n in (2, 4))
    assert torch.equal(second['labels'], last['labels'])
    assert torch.equal(second['centroids'], last['centroids'])


def test_restart_begins_from_the_initial_weights_with_its_own_schedule(images, tmp_path, monkeypatch):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    cfg.merge_from_dict(RESTART)
    seen = {}
    from glc.engine.hooks import RestartHook

    original = RestartHook.before_train_epoch

    def spied(self, runner):
        original(self, runner)
        weights = {k: v.clone() for k, v in runner.model.state_dict().items()}
        momenta = len(runner.optim_wrapper.optimizer.state)
        seen[runner.epoch] = (weights, momenta, runner.optim_wrapper.optimizer.param_groups[0]['lr'])

    monkeypatch.setattr(RestartHook, 'before_train_epoch', spied)
    train(cfg)
    for name, value in seen[0][0].items():
        assert torch.equal(seen[2][0][name], value), name
    assert any(not torch.equal(seen[1][0][name], value) for name, value in seen[0][0].items())
    assert [momenta > 0 for _, momenta, _ in seen.values()] == [False, True, False, True]
    assert [lr for *_, lr in seen.values()] == pytest.approx([0.05, 0.025, 0.02, 0.002])


def test_restart_without_initial_weights_in_the_checkpoint(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=4)
    plain = train(tiny_config(images, tmp_path / 'plain', train_cfg__max_epochs=1))
    assert plain.epoch == 1
    cfg.merge_from_dict(RESTART)
    with pytest.raises(RuntimeError, match='written without RestartHook'):
        train(cfg, resume=tmp_path / 'plain' / 'epoch_1.pth')


def test_correction_schedule_and_log(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=3)
    cfg.merge_from_dict(
        {
            'default_hooks.pseudo_label.corrector': dict(
                type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2
            ),
            'default_hooks.pseudo_label.correct_begin': 1,
            'default_hooks.pseudo_label.correct_interval': 2,
        }
    )
    runner = train(cfg)
    labelled = [record for record in records(runner, tmp_path) if 'pseudo_labels/clusters' in record]
    assert ['pseudo_labels/seconds/correct' in record for record in labelled] == [False, False, True]
    for name in ('outliers', 'median_size', 'seconds/extract', 'seconds/label', 'labels/bcubed_f'):
        assert f'pseudo_labels/{name}' in labelled[0]
    assert 'pseudo_labels/corrected/pairwise_f' in labelled[2]
    assert 'pseudo_labels/change' in labelled[1]


def test_training_lowers_the_loss_on_fixed_labels(tmp_path):
    images = write_images(tmp_path / 'market1501', contrast=1.0)
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=6, train_dataloader__sampler__iterations=40)
    cfg.optim_wrapper.optimizer.lr = 0.02
    cfg.model.head.memory = dict(type='ClusterMemory', mode='mean', momentum=0.9, temperature=0.2)
    cfg.default_hooks.pseudo_label.frozen_epochs = list(range(1, 6))
    runner = train(cfg)
    losses = [record['loss'] for record in records(runner, tmp_path) if 'loss' in record]
    assert len(losses) == 240
    assert sum(losses[-40:]) < 0.85 * sum(losses[:40])


def test_extraction_writes_by_sample_index_and_keeps_the_mode(images, tmp_path):
    runner = train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    dataset = runner.train_dataloader.dataset.with_pipeline(runner.cfg.test_dataloader.dataset.pipeline)
    runner.model.train()
    features = FeatureExtractor(dataset, batch_size=7, num_workers=0)(runner.model)
    assert runner.model.training
    runner.model.eval()
    for index in (0, 20, 47):
        data = dataset[index]
        batch = runner.model.data_preprocessor(
            {'inputs': [data['inputs']], 'data_samples': [data['data_samples']]}
        )
        with torch.no_grad():
            torch.testing.assert_close(
                features[index], runner.model.extract_feat(batch['inputs'])[0], atol=1e-5, rtol=1e-4
            )


def test_features_and_labels_stay_on_the_device_of_the_model(images, tmp_path, monkeypatch):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1)
    runner = train(cfg)
    expected = state(runner)
    dataset = runner.train_dataloader.dataset.with_pipeline(runner.cfg.test_dataloader.dataset.pipeline)
    extract = FeatureExtractor(dataset, batch_size=20, num_workers=0)
    monkeypatch.setattr(runner.model, 'extract_feat', lambda inputs: inputs.mean(dim=(2, 3)))
    on_cpu = extract(runner.model)
    with ForeignDevice():
        runner.model.data_preprocessor.to(FOREIGN)
        features = extract(runner.model)
        assert features.device == FOREIGN
        assert torch.equal(features.cpu(), on_cpu)
    original = FeatureExtractor.__call__
    monkeypatch.setattr(FeatureExtractor, '__call__', lambda self, model: original(self, model).to(FOREIGN))
    with ForeignDevice():
        again = train(cfg)
    assert_same(state(again), expected)


def test_no_cluster_stops_before_training_or_keeps_the_last_labels(images, tmp_path, caplog):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=2)
    cfg.default_hooks.pseudo_label.labeler.min_samples = 40
    with pytest.raises(RuntimeError, match=r'found 0 clusters and 48 outliers.*Raise eps'):
        train(cfg)
    runner = train(tiny_config(images, tmp_path / 'ok', train_cfg__max_epochs=1))
    hook = next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
    before = hook.pseudo
    hook.labeler.min_samples = 40
    runner.logger.addHandler(caplog.handler)
    hook.before_train_epoch(runner)
    assert hook.pseudo is before
    assert 'Keeping the labels of the last labelling' in caplog.text
    hook.fallback = 'error'
    with pytest.raises(RuntimeError, match='found 0 clusters'):
        hook.before_train_epoch(runner)


def test_nan_features_name_the_images(images, tmp_path):
    runner = train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    hook = next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
    with torch.no_grad():
        runner.model.neck.bottleneck.weight.fill_(float('nan'))
    with pytest.raises(RuntimeError, match=r'48 images are not finite \(.*0001_c1s1.*training diverged'):
        hook.before_train_epoch(runner)


def test_wrong_batch_size_and_sampler(images, tmp_path):
    with pytest.raises(ValueError, match='set batch_size to num_ids x num_instances'):
        train(tiny_config(images, tmp_path, train_dataloader__batch_size=8))
    sampler = dict(type='DefaultSampler', shuffle=True, _delete_=True)
    cfg = tiny_config(images, tmp_path)
    cfg.train_dataloader.sampler = sampler
    cfg.train_dataloader.sampler.pop('_delete_')
    with pytest.raises(TypeError, match='use PseudoIdentitySampler'):
        train(cfg)


def test_unknown_component_suggests_the_closest(images, tmp_path):
    with pytest.raises(KeyError, match="did you mean 'JaccardDBSCAN'"):
        train(tiny_config(images, tmp_path, default_hooks__pseudo_label__labeler__type='JacardDBSCAN'))


def test_hybrid_memory_draws_outliers_and_learns_from_them(images, tmp_path):
    cfg = merged(tiny_config(images, tmp_path, train_cfg__max_epochs=1), HYBRID)
    runner = train(cfg)
    hook = next(hook for hook in runner.hooks if isinstance(hook, PseudoLabelHook))
    outliers = (hook.pseudo.labels < 0).nonzero().flatten()
    assert len(outliers) >= 4
    assert set(torch.load(tmp_path / 'epoch_1.pth')['labeler']) == {'threshold'}
    drawn = torch.tensor(list(runner.train_dataloader.sampler))[:, 0].reshape(2, 4, 4)
    assert torch.isin(drawn[:, 3], outliers).all()
    assert not torch.isin(drawn[:, :3], outliers).any()
    moved = (runner.model.memory.instances != hook.pseudo.features).any(1)
    assert torch.equal(moved.nonzero().flatten(), drawn.unique())


def test_an_outlier_that_the_memory_cannot_learn_stops(images, tmp_path):
    cfg = merged(tiny_config(images, tmp_path, train_cfg__max_epochs=1), HYBRID)
    cfg.model.head.memory = dict(type='ClusterMemory')
    with pytest.raises(RuntimeError, match='outlier_groups, of which ClusterMemory cannot learn'):
        train(cfg)


def test_camera_memory_needs_cameras_before_any_work(images, tmp_path, extractions):
    cfg = tiny_config(images, tmp_path)
    cfg.model.head.memory = dict(type='CameraMemory')
    cfg.train_dataloader.dataset.update(type='ImageFolderReID', data_root=str(images / 'bounding_box_train'))
    with pytest.raises(ValueError, match=r'camera of every image, 48 of 48 .*pattern of ImageFolderReID'):
        train(cfg)
    assert not extractions


class StudentRecorder(Hook):
    """Remembers the student's weights after every iteration."""

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self.states = []

    def before_train(self, runner):
        self.initial = {k: v.clone() for k, v in runner.model.state_dict().items()}

    def after_train_iter(self, runner, *args, **kwargs):
        self.states.append({k: v.clone() for k, v in runner.model.state_dict().items()})


def test_mean_teacher_is_the_moving_average_that_labels_and_is_evaluated(images, tmp_path, monkeypatch):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=2, train_cfg__val_interval=1)
    cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
    extracted = []
    original = FeatureExtractor.__call__

    def spied(self, model):
        extracted.append((model, {k: v.clone() for k, v in model.state_dict().items()}))
        return original(self, model)

    def init_weights(self):  # after the hook has copied the model
        torch.nn.init.constant_(self.neck.bottleneck.weight, 0.5)

    monkeypatch.setattr(FeatureExtractor, '__call__', spied)
    monkeypatch.setattr(UnsupervisedReID, 'init_weights', init_weights)
    runner = build_runner(prepare_config(cfg))
    recorder = StudentRecorder()
    runner.register_hook(recorder)
    runner.train()

    average = {k: v.double() for k, v in recorder.states[0].items()}
    first_epoch = None
    for number, student in enumerate(recorder.states):
        for name, value in student.items():
            if number and value.is_floating_point():
                average[name] = 0.7 * average[name] + 0.3 * value.double()
        if number == 1:
            first_epoch = dict(average)
    teacher = next(hook for hook in runner.hooks if isinstance(hook, MeanTeacherHook)).teacher
    saved = torch.load(tmp_path / 'epoch_2.pth')['state_dict']
    assert any('running_var' in name for name in saved)
    for name, value in teacher.state_dict().items():
        torch.testing.assert_close(value.double(), average[name].double(), atol=1e-6, rtol=1e-4)
        assert torch.equal(saved[name], value)
    assert all(torch.equal(v, recorder.states[-1][k]) for k, v in runner.model.state_dict().items())

    assert [model is teacher for model, _ in extracted] == [True, True]
    for name, value in extracted[0][1].items():
        assert torch.equal(value, recorder.initial[name]), 'the first labels come from the initial weights'
        torch.testing.assert_close(
            extracted[1][1][name].double(), first_epoch[name].double(), atol=1e-6, rtol=1e-4
        )

    in_training = [record for record in records(runner, tmp_path) if 'reid/mAP' in record][-1]
    cfg.experiment_name = f'{cfg.experiment_name}_test'
    tester = build_runner(cfg)
    load_for_test(tester, str(tmp_path / 'epoch_2.pth'))
    assert tester.test()['reid/mAP'] == pytest.approx(in_training['reid/mAP'])


def test_bad_momentum_of_the_teacher():
    with pytest.raises(ValueError, match=r'momentum must lie in \(0, 1\)'):
        MeanTeacherHook(momentum=1)
