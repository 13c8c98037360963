"""Extraction: every feature in the row of its image, on the device of the model."""

import copy

import numpy as np
import pytest
import torch

from glc import JaccardDBSCAN
from glc.apis import build_runner, prepare_config
from glc.core.evaluation import label_quality
from glc.datasets import Market1501
from glc.engine import FeatureExtractor, feature_extractor
from tests.runs import assert_same, state, tiny_config, train
from tests.test_core.foreign_device import FOREIGN, ForeignDevice

pytestmark = pytest.mark.slow


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
        cfg.work_dir = str(tmp_path / 'again')
        again = train(cfg)
    assert_same(state(again), expected)


def test_labels_of_mirror_images_leave_the_tests_alone(images, tmp_path, monkeypatch):
    found, original = [], FeatureExtractor.__call__
    monkeypatch.setattr(
        FeatureExtractor, '__call__', lambda self, model: found.append(original(self, model)) or found[-1]
    )
    for name, change in [
        ('labels', {'default_hooks__pseudo_label__flip': True}),
        ('all', {'model__flip_test': True}),
    ]:
        runner = train(tiny_config(images, tmp_path / name, train_cfg__max_epochs=1, **change))
        assert runner.model.flip_test == (name == 'all')
    of_labels, of_all = found
    torch.testing.assert_close(of_labels, of_all, rtol=0, atol=0)


def test_labels_normalized_by_camera(images, tmp_path, monkeypatch):
    found, original = [], FeatureExtractor.__call__
    monkeypatch.setattr(
        FeatureExtractor, '__call__', lambda self, model: found.append(original(self, model)) or found[-1]
    )

    def trained(name, camera_norm):
        option = {'default_hooks__pseudo_label__camera_norm': camera_norm}
        return train(tiny_config(images, tmp_path / name, train_cfg__max_epochs=1, **option))

    with pytest.raises(ValueError, match='no camera has 64 images'):
        trained('few', True)
    assert not found
    monkeypatch.setattr(feature_extractor, '_MEASURED_BATCH', 24)
    for camera_norm in (False, True):
        trained(f'{camera_norm}', camera_norm)
    plain, by_camera = found
    assert (by_camera - plain).abs().max() > 0.05


def test_features_of_labels_and_files_are_flip_tested(images, tmp_path):
    runner = build_runner(prepare_config(tiny_config(images, tmp_path, model__flip_test=True)))
    dataset = Market1501(str(images), pipeline=runner.cfg.test_dataloader.dataset.pipeline, check='off')
    extract = FeatureExtractor(dataset, batch_size=20, num_workers=0)
    network = runner.model
    features = extract(network)
    network.flip_test = False
    plain = extract(network)
    torch.testing.assert_close(FeatureExtractor(dataset, 20, 0, flip=True)(network), features, rtol=0, atol=0)
    network.flip_test = True
    torch.testing.assert_close(FeatureExtractor(dataset, 20, 0, flip=False)(network), plain, rtol=0, atol=0)
    network.flip_test = False
    straight = network.extract_feat
    network.extract_feat = lambda inputs: straight(inputs.flip(3))
    mean = (plain + extract(network)) / 2
    torch.testing.assert_close(features, mean / mean.norm(dim=1, keepdim=True))
    assert not torch.allclose(features, plain, atol=1e-3)


def test_every_camera_is_normalized_by_its_own_statistics(images, tmp_path, monkeypatch):
    """As a copy of the network does that was in training mode for the images of the camera, once."""
    runner = train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    network = runner.model.train()
    state_before = copy.deepcopy(network.state_dict())
    dataset = Market1501(str(images), pipeline=runner.cfg.test_dataloader.dataset.pipeline, check='off')
    plain = FeatureExtractor(dataset, 7, 0)(network)
    with pytest.raises(ValueError, match='no camera has 64 images'):  # there are 24 of each
        FeatureExtractor(dataset, 7, 0, camera_norm=True)
    monkeypatch.setattr(feature_extractor, '_MEASURED_BATCH', 24)
    features = FeatureExtractor(dataset, 7, 0, camera_norm=True)(network)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, state_before[name]), name
    assert (features - plain).abs().max() > 0.1
    for camera in (0, 1):
        rows = (dataset.cam_ids == camera).nonzero()[0]
        assert len(rows) == 24
        batch = {name: [dataset[int(row)][name] for row in rows] for name in ('inputs', 'data_samples')}
        other = copy.deepcopy(network)
        inputs = other.data_preprocessor(batch)['inputs']
        other.eval()
        for layer in other.modules():
            if hasattr(layer, 'running_mean'):
                layer.momentum, layer.group_size = None, 24
                layer.reset_running_stats()
                layer.train()
        with torch.no_grad():
            other.extract_feat(inputs)
            expected = other.eval().extract_feat(inputs)
        torch.testing.assert_close(features[rows], expected, rtol=0, atol=5e-3)

    unknown = dataset.cam_ids == 0
    monkeypatch.setattr(type(dataset), 'cam_ids', np.where(unknown, -1, 7))
    one = FeatureExtractor(dataset, 7, 0, camera_norm=True)(network)
    torch.testing.assert_close(
        one, torch.where(torch.from_numpy(unknown)[:, None], plain, features), atol=1e-5, rtol=0
    )


def test_half_precision_gives_nearly_the_same_features_and_labels(images, tmp_path, monkeypatch):
    """In a training with ``amp`` of the hook: cosine distance to float32 below 1e-4, pairwise F of the labels 0.95."""
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1, default_hooks__pseudo_label__amp=True)
    original, found = FeatureExtractor.__call__, []

    def both(self, model):
        found.append(original(self, model))
        self.amp = False
        found.append(original(self, model))
        return found[0]

    monkeypatch.setattr(FeatureExtractor, '__call__', both)
    train(cfg)
    half, full = found
    assert half.dtype == torch.float32
    assert 0 < (1 - torch.cosine_similarity(half, full)).max() < 1e-4
    labels = [JaccardDBSCAN(k1=6, k2=2, min_samples=2)(features).numpy() for features in found]
    assert label_quality(*labels)['pairwise_f'] > 0.95
