"""The schedule of labels, what a labelling logs, and what happens where one fails."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from glc import JaccardDBSCAN
from glc.core.correctors import BaseCorrector, UnusableLabelsError
from glc.engine import PseudoLabelHook
from glc.engine import labeling as labeling_module
from glc.engine.clusters import labelings_in, read_clusters
from glc.registry import LABEL_CORRECTORS, PSEUDO_LABELERS
from tests.runs import HYBRID, hook_of, log, records, tiny_config, train

SMALL_GLC = dict(
    type='GLC', k=6, epochs=1, subgraphs_per_epoch=4, min_nodes=10, min_cluster_size=2, careful=False
)
ERRORS = {kind.__name__: kind for kind in (IndexError, RuntimeError, UnusableLabelsError, ValueError)}


@PSEUDO_LABELERS.register_module()
class FirstTimeLabeler(JaccardDBSCAN):
    """Labels once; from then on it raises an error of this name, or finds nothing but outliers."""

    def __init__(self, later: str, k1: int = 6, k2: int = 2, min_samples: int = 2) -> None:
        super().__init__(k1=k1, k2=k2, min_samples=min_samples)
        self.later = later
        self.calls = 0

    def _label(self, view):
        self.calls += 1
        labels = super()._label(view)
        if self.calls == 1:
            return labels
        if self.later in ERRORS:
            raise ERRORS[self.later]('the labeler is broken')
        return np.full_like(labels, -1)


@LABEL_CORRECTORS.register_module()
class FailingCorrector(BaseCorrector):
    """Raises an error of this name."""

    def __init__(self, error: str) -> None:
        self.error = error

    def _correct(self, view, labels):
        raise ERRORS[self.error]('the corrector is broken')


def label_config(images, work_dir, epochs: int = 1, **options) -> Config:
    """A short run; ``options`` are those of the hook."""
    cfg = tiny_config(images, work_dir, train_cfg__max_epochs=epochs)
    cfg.merge_from_dict({f'default_hooks.pseudo_label.{name}': value for name, value in options.items()})
    return cfg


def labeled_epochs(runner) -> list[int]:
    return [record['step'] for record in records(runner) if 'pseudo_labels/clusters' in record]


# ---------------------------------------------------------------- the schedule


@pytest.mark.parametrize(
    ('options', 'labeled', 'corrected'),
    [
        ({}, [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6, 7]),
        ({'interval': 3}, [0, 3, 6], [0, 3, 6]),
        ({'interval': 2, 'frozen_epochs': [2, 3]}, [0, 4, 6], [0, 4, 6]),
        ({'correct_begin': 3, 'correct_interval': 2}, [0, 1, 2, 3, 4, 5, 6, 7], [4, 6]),
        ({'correct_begin': 3, 'interval': 2}, [0, 2, 4, 6], [4, 6]),
        ({'correct_begin': 6, 'correct_interval': 3, 'frozen_epochs': [0]}, [1, 2, 3, 4, 5, 6, 7], [6]),
    ],
)
def test_epochs_that_label_and_correct(options, labeled, corrected):
    hook = PseudoLabelHook(JaccardDBSCAN(), **options)
    assert [epoch for epoch in range(8) if hook.labels_anew(epoch)] == labeled
    assert [epoch for epoch in range(8) if hook.corrects(epoch)] == corrected


def test_wrong_options():
    for options in ({'interval': 0}, {'correct_interval': 0}):
        with pytest.raises(ValueError, match='intervals must be at least 1'):
            PseudoLabelHook(JaccardDBSCAN(), **options)
    with pytest.raises(ValueError, match="fallback must be 'previous' or 'error', got 'last'"):
        PseudoLabelHook(JaccardDBSCAN(), fallback='last')
    with pytest.raises(ValueError, match='min_images must be at least 1, got 0'):
        PseudoLabelHook(JaccardDBSCAN(), min_images=0)
    for reach in (0, -1.0, [(0, 1.5), (0.3, 0.0)], [(3, 1.5)], [(-0.1, 1.5)]):
        with pytest.raises(ValueError, match='reach must be above 0, or pairs'):
            PseudoLabelHook(JaccardDBSCAN(), reach=reach)
    for history in (-1.0, [(0, 1.5), (0.3, -0.1)], [(3, 1.5)], float('nan'), float('inf')):
        with pytest.raises(ValueError, match='history must be finite and at least 0, or pairs'):
            PseudoLabelHook(JaccardDBSCAN(), history=history)


@pytest.mark.parametrize(
    ('reach', 'expected'),
    [
        (1.5, [1.5] * 6),
        (2, [2] * 6),
        ([(0, 1.5), (0.7, 1.2)], [1.5, 1.5, 1.5, 1.5, 1.5, 1.2]),
        ([(0, 1.5), (4 / 6, 1.2)], [1.5, 1.5, 1.5, 1.5, 1.2, 1.2]),
        ([[0.6, 1.2], [0.3, 3.0]], [1.0, 1.0, 3.0, 3.0, 1.2, 1.2]),
    ],
)
def test_reach_by_epoch(reach, expected):
    hook = PseudoLabelHook(JaccardDBSCAN(), reach=reach)
    assert [hook.reach_at(epoch, 6) for epoch in range(6)] == expected


def test_history_by_epoch():
    hook = PseudoLabelHook(JaccardDBSCAN(), history=[(0.3, 1), (0.8, 0.5)])
    assert [hook.history_at(epoch, 6) for epoch in range(6)] == [0, 0, 1, 1, 1, 0.5]
    assert PseudoLabelHook(JaccardDBSCAN()).history_at(0, 6) == 0


@pytest.mark.slow
def test_a_training_takes_reach_and_smallest_clusters(images, tmp_path, monkeypatch):
    reaches, make = [], labeling_module.FeatureView
    monkeypatch.setattr(
        labeling_module, 'FeatureView', lambda *args, **kw: reaches.append(kw['reach']) or make(*args, **kw)
    )
    runner = train(label_config(images, tmp_path, 2, reach=[(0, 1.5), (0.5, 1)], min_images=6))
    assert reaches == [1.5, 1]
    assert [
        record['pseudo_labels/reach'] for record in records(runner) if 'pseudo_labels/reach' in record
    ] == [1.5, 1]
    told = [
        line
        for line in Path(runner.logger.log_file).read_text().splitlines()
        if 'epoch ' in line and 'loss' in line
    ]
    assert ['reach 1.5' in line for line in told] == [True, False]
    with np.load(labelings_in(tmp_path)[2]) as file:
        assert 0 < np.bincount(file['labels'] + 1)[1:].min() < 6
    labels = torch.load(tmp_path / 'epoch_2.pth')['pseudo_labels']['labels']
    assert labels.max() >= 1
    assert torch.bincount(labels + 1)[1:].min() >= 6


@pytest.mark.slow
def test_frozen_epochs_keep_labels_and_centroids(images, tmp_path, extractions):
    runner = train(label_config(images, tmp_path, 4, frozen_epochs=[2, 3]))
    assert labeled_epochs(runner) == [0, 1]
    assert len(extractions) == 2
    second, last = (torch.load(tmp_path / f'epoch_{n}.pth')['pseudo_labels'] for n in (2, 4))
    assert torch.equal(second['labels'], last['labels'])
    assert torch.equal(second['centroids'], last['centroids'])


@pytest.mark.slow
@pytest.mark.parametrize('saved', [True, False])
def test_clusters_are_written_by_file(images, tmp_path, saved):
    file = tmp_path / 'clusters.csv'
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/epoch_9.npz').touch()  # of another run
    runner = train(label_config(images, tmp_path, 2, **({} if saved else {'save_clusters': False})))
    assert file.exists() == saved
    assert sorted(labelings_in(tmp_path)) == ([1, 2] if saved else [9])
    if saved:
        with file.open(newline='') as lines:
            rows = list(csv.DictReader(lines))
        dataset = runner.train_dataloader.dataset
        assert [row['file'] for row in rows] == [
            dataset.get_data_info(index)['img_path'] for index in range(len(dataset))
        ]
        clusters = [int(row['cluster']) for row in rows]
        assert clusters == torch.load(tmp_path / 'epoch_2.pth')['pseudo_labels']['labels'].tolist()
        with np.load(labelings_in(tmp_path)[2]) as file:
            assert sorted(file) == ['certainty', 'labels']  # the config corrects nothing
            assert file['labels'].tolist() == clusters
            assert np.isnan(file['certainty']).tolist() == [cluster < 0 for cluster in clusters]
            assert np.nanmax(file['certainty']) <= 1.001


@pytest.mark.slow
def test_correction_schedule_and_log(images, tmp_path):
    options = dict(corrector=SMALL_GLC, correct_begin=1, correct_interval=2)
    runner = train(label_config(images, tmp_path, 3, **options))
    labeled = [record for record in records(runner) if 'pseudo_labels/clusters' in record]
    assert ['pseudo_labels/seconds/correct' in record for record in labeled] == [False, False, True]
    for name in ('seconds/extract', 'seconds/label', 'labels/bcubed_f'):
        assert f'pseudo_labels/{name}' in labeled[0]
    assert 'pseudo_labels/corrected/pairwise_f' in labeled[2]
    assert ['pseudo_labels/change' in record for record in labeled] == [False, True, True]
    for record, epoch in zip(labeled, (1, 2, 3), strict=True):
        labels = torch.load(tmp_path / f'epoch_{epoch}.pth')['pseudo_labels']['labels'].numpy()
        sizes = np.bincount(labels[labels >= 0])
        assert record['pseudo_labels/clusters'] == len(sizes)
        assert record['pseudo_labels/outliers'] == (labels < 0).sum()
        assert record['pseudo_labels/median_size'] == np.median(sizes)
    kept = {}
    for epoch, path in labelings_in(tmp_path).items():
        with np.load(path) as file:
            kept[epoch] = dict(file)
    assert {epoch: 'corrected' in arrays for epoch, arrays in kept.items()} == {1: False, 2: False, 3: True}
    names, clusters = read_clusters(tmp_path / 'clusters.csv')
    assert kept[3]['corrected'].tolist() == clusters.tolist()
    assert len(kept[3]['labels']) == len(names) == len(clusters)


@pytest.mark.slow
def test_hybrid_memory_draws_outliers_and_learns_from_them(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1)
    cfg.merge_from_dict(HYBRID)
    runner = train(cfg)
    hook = hook_of(runner, PseudoLabelHook)
    outliers = (hook.pseudo.labels < 0).nonzero().flatten()
    assert len(outliers) >= 4
    assert set(torch.load(tmp_path / 'epoch_1.pth')['labeler']) == {'threshold'}
    drawn = torch.tensor(list(runner.train_dataloader.sampler))[:, 0].reshape(2, 4, 4)
    assert torch.isin(drawn[:, 3], outliers).all()
    assert not torch.isin(drawn[:, :3], outliers).any()
    moved = (runner.model.memory.instances != hook.pseudo.features).any(1)
    assert torch.equal(moved.nonzero().flatten(), drawn.unique())


@pytest.mark.slow
def test_labels_of_another_run_are_not_taken_over(images, tmp_path):
    """``load_from`` brings the weights of a run, not its labels and features or the state of its labeler."""
    cfg = tiny_config(images, tmp_path / 'first', train_cfg__max_epochs=1)
    cfg.merge_from_dict(HYBRID)
    train(cfg)
    checkpoint = torch.load(tmp_path / 'first' / 'epoch_1.pth')
    checkpoint['labeler']['threshold'] = 0.123
    checkpoint['earlier_features'] = torch.ones(3, 2)  # an error where they are taken over
    torch.save(checkpoint, tmp_path / 'other.pth')
    cfg.load_from = str(tmp_path / 'other.pth')
    cfg.default_hooks.pseudo_label.frozen_epochs = [0]
    cfg.default_hooks.pseudo_label.history = 1.0
    cfg.work_dir = str(tmp_path / 'second')
    assert labeled_epochs(train(cfg)) == [0]  # there is nothing to keep
    assert torch.load(tmp_path / 'second' / 'epoch_1.pth')['labeler']['threshold'] != 0.123


# ---------------------------------------------------------------- errors of labeler and corrector


@pytest.mark.slow
@pytest.mark.parametrize('error', ['IndexError', 'ValueError', 'UnusableLabelsError'])
@pytest.mark.parametrize('fallback', ['previous', 'error'])
def test_error_of_the_labeler_stops_the_run(images, tmp_path, error, fallback):
    labeler = dict(type='FirstTimeLabeler', later=error, _delete_=True)
    cfg = label_config(images, tmp_path, 3, labeler=labeler, fallback=fallback)
    with pytest.raises(ERRORS[error], match='the labeler is broken'):
        train(cfg)
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


@pytest.mark.slow
@pytest.mark.parametrize('error', ['IndexError', 'RuntimeError', 'ValueError'])
def test_error_of_the_corrector_stops_the_run(images, tmp_path, error):
    cfg = label_config(
        images, tmp_path, 2, corrector=dict(type='FailingCorrector', error=error), correct_begin=1
    )
    with pytest.raises(ERRORS[error], match='the corrector is broken'):
        train(cfg)
    assert (tmp_path / 'last_checkpoint').read_text().endswith('epoch_1.pth')


@pytest.mark.slow
@pytest.mark.parametrize(
    ('corrector', 'reason'),
    [
        (dict(type='FailingCorrector', error='UnusableLabelsError'), 'the corrector is broken'),
        ({**SMALL_GLC, 'min_nodes': 1000}, 'fewer than min_nodes=1000'),
        ({**SMALL_GLC, 'min_cluster_size': 49}, 'left fewer than two clusters'),
    ],
)
def test_labels_that_cannot_be_corrected_are_trained_on(images, tmp_path, corrector, reason):
    plain = train(label_config(images, tmp_path / 'plain'))
    corrected = train(label_config(images, tmp_path / 'corrected', corrector=corrector))
    expected, actual = (hook_of(runner, PseudoLabelHook).pseudo for runner in (plain, corrected))
    assert torch.equal(actual.labels, expected.labels)
    assert torch.equal(actual.centroids, expected.centroids)
    (message,) = log(corrected).split('WARNING - Epoch 1: labels not corrected: ')[1:]
    assert reason in message


# ---------------------------------------------------------------- fewer than two clusters


@pytest.mark.slow
@pytest.mark.parametrize('fallback', ['previous', 'error'])
@pytest.mark.parametrize(
    ('labeler', 'problem'),
    [
        (
            dict(min_samples=40),
            r'found 0 clusters and 48 outliers among 48 images.*raise eps or lower min_samples',
        ),
        (dict(eps=0.999, k1=24), r'found 1 cluster and \d+ outliers among 48 images.*lower eps'),
    ],
)
def test_a_first_labelling_without_clusters_stops(images, tmp_path, labeler, problem, fallback):
    with pytest.raises(RuntimeError, match=problem):
        train(label_config(images, tmp_path, labeler=labeler, fallback=fallback))


@pytest.mark.slow
def test_advice_comes_from_the_labeler(images, tmp_path):
    labeler = dict(type='JaccardMapEquation', k1=6, k2=2, min_cluster_size=49, _delete_=True)
    with pytest.raises(RuntimeError, match='found 0 clusters and 48 outliers') as caught:
        train(label_config(images, tmp_path, labeler=labeler))
    assert 'eps' not in str(caught.value)  # the map equation has none
    assert 'min_samples' not in str(caught.value)
    assert 'raise cut or lower min_cluster_size' in str(caught.value)


@pytest.mark.slow
def test_a_later_labelling_without_clusters_keeps_the_labels_or_stops(images, tmp_path):
    labeler = dict(type='FirstTimeLabeler', later='outliers', _delete_=True)
    runner = train(label_config(images, tmp_path / 'kept', 2, labeler=labeler))
    first, second = (torch.load(tmp_path / 'kept' / f'epoch_{n}.pth')['pseudo_labels'] for n in (1, 2))
    assert torch.equal(first['labels'], second['labels'])
    assert torch.equal(first['centroids'], second['centroids'])
    assert labeled_epochs(runner) == [0]
    (line,) = (line for line in log(runner).splitlines() if 'Keeping the labels of the last labeling' in line)
    assert 'WARNING' in line
    assert 'Epoch 2: FirstTimeLabeler' in line
    with pytest.raises(RuntimeError, match=r'epoch 2: .*found 0 clusters'):
        train(label_config(images, tmp_path / 'stopped', 2, labeler=labeler, fallback='error'))


# ---------------------------------------------------------------- checks


@pytest.mark.slow
def test_nan_features_name_the_images(images, tmp_path):
    runner = train(label_config(images, tmp_path))
    with torch.no_grad():
        runner.model.neck.bottleneck.weight.fill_(float('nan'))
    with pytest.raises(RuntimeError, match=r'48 images are not finite \(.*0001_c1s1.*training diverged'):
        hook_of(runner, PseudoLabelHook).before_train_epoch(runner)


@pytest.mark.slow
def test_wrong_batch_size_and_sampler(images, tmp_path):
    with pytest.raises(ValueError, match=r'train_dataloader\.batch_size=8 must be 16'):
        train(tiny_config(images, tmp_path, train_dataloader__batch_size=8))
    cfg = tiny_config(images, tmp_path)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    with pytest.raises(TypeError, match='use PseudoIdentitySampler'):
        train(cfg)


@pytest.mark.slow
def test_resume_with_another_data_set(images, tmp_path):
    cfg = label_config(images, tmp_path / 'whole', 2)
    train(label_config(images, tmp_path / 'whole', 1))
    cfg.train_dataloader.dataset.indices = 40
    with pytest.raises(RuntimeError, match='training set: 48 images in the checkpoint, 40 in this run'):
        train(cfg, resume=tmp_path / 'whole' / 'epoch_1.pth')
    cfg.work_dir = str(tmp_path / 'other')
    content = torch.load(tmp_path / 'whole' / 'epoch_1.pth', weights_only=True)
    del content['meta']['training_set']  # as earlier versions wrote it
    torch.save(content, tmp_path / 'old.pth')
    with pytest.raises(ValueError, match='pseudo labels of 48 images, the training set has 40'):
        train(cfg, resume=tmp_path / 'old.pth')


@pytest.mark.slow
def test_an_outlier_that_the_memory_cannot_learn_stops(images, tmp_path):
    cfg = tiny_config(images, tmp_path, train_cfg__max_epochs=1)
    cfg.merge_from_dict(HYBRID)
    cfg.model.head.memory = dict(type='ClusterMemory')
    with pytest.raises(RuntimeError, match='outlier_groups, of which ClusterMemory cannot learn'):
        train(cfg)


@pytest.mark.slow
def test_camera_memory_needs_cameras_before_any_work(images, tmp_path, extractions):
    cfg = tiny_config(images, tmp_path)
    cfg.model.head.memory = dict(type='CameraMemory')
    cfg.train_dataloader.dataset.update(type='ImageFolderReID', data_root=str(images / 'bounding_box_train'))
    with pytest.raises(ValueError, match=r'camera of every image, 48 of 48 .*pattern of ImageFolderReID'):
        train(cfg)
    assert not extractions
