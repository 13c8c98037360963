"""Whole runs: seeds, resume, restart, frozen labels, ground truth."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from glc.engine import FeatureExtractor, PseudoLabelHook
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


@pytest.mark.parametrize('options', [{}, {**RESTART, 'default_hooks.pseudo_label.frozen_epochs': [3]}])
@pytest.mark.parametrize('stop', [2, 3])
def test_resume_equals_an_uninterrupted_run(images, tmp_path, options, stop):
    cfg = tiny_config(images, tmp_path / 'whole', train_cfg__max_epochs=4)
    cfg.merge_from_dict(options)
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
