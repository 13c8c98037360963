"""Tests whose images are normalized by the statistics of their camera."""

import copy

import pytest
import torch

from glc.apis import build_runner, prepare_config
from glc.core.evaluation import evaluate_ranking
from glc.engine import CameraNormHook, FeatureExtractor, feature_extractor
from glc.evaluation import ReIDMetric
from tests.runs import tiny_config, train, write_images

pytestmark = pytest.mark.slow


@pytest.mark.parametrize('flip', [False, True])
def test_scores_are_those_of_features_that_are_made_camera_by_camera(tmp_path, monkeypatch, flip):
    """The hook normalizes mixed batches, ``FeatureExtractor`` takes a camera at a time."""
    monkeypatch.setattr(feature_extractor, '_MEASURED_BATCH', 12)
    images = write_images(tmp_path / 'market1501', num_cams=3)
    cfg = tiny_config(images, tmp_path / 'run', train_cfg__max_epochs=1, model__flip_test=flip)
    cfg.train_cfg.val_interval = 1
    cfg.default_hooks.mean_teacher = dict(type='MeanTeacherHook', momentum=0.3)
    cfg.custom_hooks = [dict(type='CameraNormHook', num_workers=0)]
    seen, process = [], ReIDMetric.process

    def kept(self, data_batch, data_samples):
        seen.extend((sample['sample_idx'], sample['feature'].cpu()) for sample in data_samples)
        process(self, data_batch, data_samples)

    monkeypatch.setattr(ReIDMetric, 'process', kept)
    runner = train(cfg)
    assert sorted(index for index, _ in seen) == list(range(len(seen)))
    in_training = torch.stack([feature for _, feature in sorted(seen, key=lambda pair: pair[0])])
    seen.clear()

    dataset = runner.val_dataloader.dataset
    assert len(set(dataset.cam_ids)) == 3
    teacher = build_runner(prepare_config(copy.deepcopy(cfg)))
    saved = torch.load(tmp_path / 'run' / 'epoch_1.pth')
    teacher.model.load_state_dict(saved['state_dict'])
    network = teacher.model.eval()
    before = copy.deepcopy(network.state_dict())
    expected = FeatureExtractor(dataset, 7, 0, camera_norm=True)(network)
    torch.testing.assert_close(in_training, expected, atol=2e-4, rtol=0)
    plain = FeatureExtractor(dataset, 7, 0)(network)
    assert (plain - expected).abs().max() > 0.05

    scores = teacher.test()
    parts = [getattr(dataset, name) for name in ('pids', 'cam_ids')]
    query = torch.tensor([dataset.get_data_info(row)['is_query'] for row in range(len(dataset))])
    ids = [ids[part] for ids in parts for part in (query.numpy(), ~query.numpy())]
    found = evaluate_ranking(expected[query], expected[~query], *ids)
    assert scores['reid/mAP'] == pytest.approx(100 * found['mAP'], abs=0.02)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    torch.testing.assert_close(FeatureExtractor(dataset, 7, 0)(network), plain, atol=0, rtol=0)


def test_few_images_of_every_camera_are_an_error_before_the_test(images, tmp_path):
    cfg = tiny_config(images, tmp_path)
    runner = build_runner(prepare_config(cfg))
    runner.register_hook(CameraNormHook(num_workers=0))
    with pytest.raises(ValueError, match='no camera has 64 images'):
        runner.test()
