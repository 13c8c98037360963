"""The tools that extract features and score labels, as a command line would run them."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

from glc.core.evaluation import knn_purity, label_quality
from glc.core.labelers import AdaptiveConsensus
from glc.engine import FeatureExtractor
from tests.runs import tiny_config, train, write_images
from tests.test_core.oracles import people

TOOLS = Path(__file__).parents[1] / 'tools'


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs a tool in this process and returns what it prints."""

    def call(tool, *arguments):
        path = TOOLS / f'{tool}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        monkeypatch.setattr(sys, 'path', [str(path.parent), *sys.path])
        runpy.run_path(str(path), run_name='__main__')
        return capsys.readouterr().out

    return call


@pytest.mark.slow
def test_extracted_features_are_those_of_the_training_images(run, tmp_path):
    images = write_images(tmp_path / 'data', per_camera=8)
    cfg = tiny_config(images, tmp_path / 'run', train_cfg__max_epochs=1)
    runner = train(cfg)
    cfg.dump(tmp_path / 'config.py')
    out = tmp_path / 'new' / 'features.npz'
    extract = 'analysis_tools/extract_features', tmp_path / 'config.py', tmp_path / 'run/epoch_1.pth'
    run(*extract, '--out', out)

    dataset = runner.train_dataloader.dataset.with_pipeline(cfg.test_dataloader.dataset.pipeline)
    expected = FeatureExtractor(dataset, 7, 0)(runner.model)
    with np.load(out) as file:
        assert sorted(file) == ['cam', 'features', 'path', 'pid']
        np.testing.assert_array_equal(file['path'], dataset.paths)
        np.testing.assert_allclose(file['features'], expected, atol=1e-6)
        np.testing.assert_array_equal(file['pid'], dataset.pids)
        np.testing.assert_array_equal(file['cam'], dataset.cam_ids)

    run(*extract, '--out', out, '--camera-norm')
    by_camera = FeatureExtractor(dataset, 7, 0, camera_norm=True)(runner.model)
    assert (by_camera - expected).abs().max() > 0.01
    with np.load(out) as file:
        np.testing.assert_allclose(file['features'], by_camera, atol=1e-5)


@pytest.mark.slow
def test_knn_purity_of_a_checkpoint(run, tmp_path):
    cfg = tiny_config(write_images(tmp_path / 'data'), tmp_path / 'run', train_cfg__max_epochs=1)
    runner = train(cfg)
    cfg.dump(tmp_path / 'config.py')
    printed = run('analysis_tools/knn_purity', tmp_path / 'config.py', tmp_path / 'run/epoch_1.pth', '-k', 3)
    dataset = runner.train_dataloader.dataset
    features = FeatureExtractor(dataset.with_pipeline(cfg.test_dataloader.dataset.pipeline), 7, 0)(
        runner.model
    )
    purity = knn_purity(features, dataset.pids, 3)
    assert 0 < purity < 1
    assert printed.splitlines()[-1] == f'kNN purity (k = 3) of 48 images, 32 channels: {purity:.4f}'


@pytest.fixture
def features(tmp_path):
    """Features of two well separated people."""
    rng = np.random.default_rng(0)
    pid = np.repeat([4, 9], 20)
    x = np.eye(8)[pid % 8] + 0.05 * rng.normal(size=(40, 8))
    path = tmp_path / 'features.npz'
    np.savez(path, features=x, pid=pid, cam=pid % 2)
    return path


def rows(text):
    """Cells of the rows of all tables."""
    lines = [line for line in text.splitlines() if line.startswith('|') and not line.startswith('|---')]
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]


@pytest.mark.slow
def test_label_quality_of_all_pairs_and_a_document(run, features, tmp_path):
    document = tmp_path / 'document.md'
    labelers = ['JaccardAgglomerative(k1=20)', 'JaccardDBSCAN(eps=2)']
    correctors = ['NoCorrection', 'NeighborVoting(min_share=2)']
    printed = run(
        'benchmarks/bench_label_quality', '--features', f'two={features}', '--output', document,
        '--labelers', *labelers, '--correctors', *correctors, '--planted', 0.5,
    )  # fmt: skip
    text = document.read_text()
    assert printed.strip() in text
    assert '## two: 40 images, 2 identities' in text
    assert '--features two=two.npz --labelers' in text
    assert str(tmp_path) not in text
    perfect = '1.000 / 1.000 / 1.000'
    table = rows(printed)
    assert table[1][:7] == [labelers[0], 'NoCorrection', perfect, perfect, '1.000', '2', '0']
    assert table[2][:2] == [labelers[0], correctors[1]]
    assert table[2][2].startswith("InvalidParameterError: The 'min_share' parameter")
    assert table[3][0] == labelers[1]
    assert table[3][2].startswith("InvalidParameterError: The 'eps' parameter of JaccardDBSCAN")
    noisy = {row[0]: row for row in table if row[0].startswith('true') and row[1] == 'NoCorrection'}
    assert noisy.keys() == {'true', *(f'true, 50 % {kind}' for kind in ('merged', 'split', 'outliers'))}
    assert noisy['true'][2:] == [perfect, perfect, '1.000', '2', '0']
    kept = noisy['true, 50 % outliers']
    assert kept[2:] == [perfect, perfect, '1.000', '2', '20']
    summary = rows(printed.partition('by corrector')[2])
    assert summary[:2] == [['labels', *correctors], ['**two**', '', '']]
    assert summary[2:4] == [
        [labelers[0], '1.000 / 1.000', 'failed'],
        ['true', '1.000 / 1.000', 'failed'],
    ]


def test_label_quality_of_several_epochs(run, features, tmp_path):
    with np.load(features) as file:
        blind = tmp_path / 'blind.npz'  # all images look alike
        np.savez(blind, **{**file, 'features': np.ones_like(file['features'])})
    options = ('--labelers', 'JaccardDBSCAN(k1=20)', '--correctors', 'NoCorrection')
    files = (f'blind={blind}', f'both={features},{blind}')
    inputs = [word for file in files for word in ('--features', file)]
    printed = run('benchmarks/bench_label_quality', *inputs, *options)
    clusters = [row[5] for row in rows(printed.partition('by corrector')[0]) if row[0] != 'labels']
    assert clusters == ['1', '1', '2', '2']  # two tables each


def test_label_quality_of_made_up_features(run):
    corrector = 'GLC.published(subgraphs_per_epoch=1, steps_per_subgraph=1, hidden_dim=8)'
    options = ('--synthetic', 300, '--labelers', 'JaccardDBSCAN', '--correctors', corrector)
    printed = run('benchmarks/bench_label_quality', *options)
    assert '## made-up features: 300 images' in printed
    assert [row[1] for row in rows(printed)][:-1] == ['corrector', corrector] * 2 + [corrector, '']


@pytest.mark.slow
def test_neighborhoods_against_the_best_fixed_ones(run, tmp_path):
    images, cams, truth = people(np.arange(2, 42), 0.9, 3)
    np.savez(tmp_path / 'made.npz', features=images.astype(np.float32), pid=truth, cam=cams)
    given = f'made={tmp_path / "made.npz"}'
    printed = run(
        'benchmarks/bench_neighborhoods', '--features', given, '--parts', '--subsets', 'all', '4 per person',
    )  # fmt: skip
    header, every, few, mean, worst = rows(printed)
    assert header[:3] == ['features', 'images', 'rule']
    quality = label_quality(AdaptiveConsensus()(images.astype(np.float32), cams), truth)
    assert every[:3] == ['made', 'all', '{pairwise_f:.3f} / {bcubed_f:.3f}'.format(**quality)]
    assert few[:2] == ['made', '4 per person']
    below = [
        [
            float(score) - float(best)
            for score, best in zip(row[2].split('/'), row[-1].split('/'), strict=True)
        ]
        for row in (every, few)
    ]
    for row, expected in ((mean, np.mean(below, axis=0)), (worst, np.min(below, axis=0))):
        np.testing.assert_allclose([float(cell) for cell in row[2].split('/')], expected, atol=0.0016)
    assert mean[3:-1] != mean[2:-2]  # the parts matter


def test_made_up_people(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS / 'benchmarks')
    import bench_neighborhoods as bench

    for name, sizes in bench.MADE_UP.items():
        features, identities, cams = bench.made_up(name)
        assert cams is None
        np.testing.assert_array_equal(np.bincount(identities), sizes)
        centers = np.stack([features[identities == person].mean(axis=0) for person in (0, 1, 2)])
        assert np.linalg.norm(features[0] - centers[0]) < np.linalg.norm(features[0] - centers[1])


@pytest.mark.parametrize(
    'name',
    [
        '3 per person',
        'half of everybody',
        '2, 5, 12 or all',
        'long tail',
        '120 people',
        '9 of 10 have one image',
    ],
)
def test_parts_of_a_file(monkeypatch, name):
    monkeypatch.syspath_prepend(TOOLS / 'benchmarks')
    from bench_label_quality import Data
    from bench_neighborhoods import subset

    pids = np.random.default_rng(1).permutation(np.repeat(np.arange(150) * 3, 9))
    features = np.arange(len(pids))[:, None]
    kept, identities, cams = subset(Data(features, pids, pids % 5), name)
    np.testing.assert_array_equal(identities, pids[kept[:, 0]])
    np.testing.assert_array_equal(cams, identities % 5)
    sizes = np.bincount(identities)[np.unique(identities)]
    assert len(sizes) == (120 if name == '120 people' else 150)
    expected = {
        '3 per person': {3},
        'half of everybody': {4},
        '2, 5, 12 or all': {2, 5, 9},
        '120 people': {9},
        '9 of 10 have one image': {1, 9},
    }
    if name == 'long tail':
        assert (sizes == 1).mean() > 0.3
        assert sizes.max() == 9
    else:
        assert set(sizes) == expected[name]


@pytest.fixture
def planted_noise(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS / 'benchmarks')
    from _data import planted_noise

    return planted_noise


def test_planted_noise(planted_noise):
    truth = np.repeat(np.arange(-1, 40), 6)
    labeled = truth >= 0
    merged, split, outliers = (planted_noise(truth, kind, 0.2, 0) for kind in ('merged', 'split', 'outliers'))
    sizes = {
        name: np.bincount(labels[labels >= 0]) for name, labels in [('merged', merged), ('split', split)]
    }
    assert np.bincount(sizes['merged']).tolist() == [4] + [0] * 5 + [32] + [0] * 5 + [4]
    assert np.bincount(sizes['split']).tolist() == [0] * 3 + [16] + [0] * 2 + [32]
    assert (outliers[labeled] == -1).sum() == 48
    np.testing.assert_array_equal(outliers[outliers >= 0], truth[outliers >= 0])
    for noisy in (merged, split):
        np.testing.assert_array_equal(noisy < 0, truth < 0)
    again, other = planted_noise(truth, 'merged', 0.2, 0), planted_noise(truth, 'merged', 0.2, 1)
    np.testing.assert_array_equal(again, merged)
    assert (other != merged).any()
    with pytest.raises(ValueError, match='kind must be'):
        planted_noise(truth, 'wrong', 0.2, 0)


@pytest.mark.slow
def test_one_view_halves_the_work_on_features(run):
    printed = run('benchmarks/bench_view', '--images', 200, '--dim', 16, '--cameras', 3)
    header, arrays, view = rows(printed)
    assert header[1:4] == ['full searches', 'normalizations', 'camera centerings']
    # The features as they are are searched for the labeler and for the corrector, or once; the learned metric once.
    assert (arrays[1], view[1]) == ('3', '2')
    assert int(arrays[3]) - int(view[3]) == 1
    assert 0 < int(view[2]) < int(arrays[2])
    assert printed.endswith('same labels: yes\n')


def test_curves_are_means_by_epoch_and_the_later_log_counts(run, tmp_path):
    logs = {
        '20250101_000000': [
            {'lr': 0.1, 'loss': 4.0, 'loss_id': 3.0, 'epoch': 1, 'iter': 1, 'step': 1},
            {'lr': 0.1, 'loss': 2.0, 'loss_id': 1.0, 'epoch': 1, 'iter': 2, 'step': 2},
            {'lr': 0.1, 'loss': 9.0, 'loss_id': 9.0, 'epoch': 2, 'iter': 3, 'step': 3},
        ],
        '20250102_000000': [
            {'lr': 0.1, 'loss': 1.5, 'loss_id': 0.5, 'epoch': 2, 'iter': 3, 'step': 3},
            {'reid/mAP': 41.25, 'reid/rank1': 60.0, 'reid/mINP': 5.0, 'step': 2},
        ],
    }
    for folder, records in logs.items():
        path = tmp_path / folder / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text('\n'.join(map(json.dumps, records)))
    assert run('analysis_tools/print_curves', tmp_path).splitlines() == [
        '| epoch | loss | loss_id | reid/mAP | reid/rank1 |',
        '|---|---|---|---|---|',
        '| 1 | 3.000 | 2.000 |  |  |',
        '| 2 | 1.500 | 0.500 | 41.250 | 60.000 |',
    ]
    with path.open('a') as file:
        file.write('\n[]\n{"reid/mAP": 9}\n{"reid/mAP": 41.')  # the last one by a kill
    assert '| 2 | 1.500 | 0.500 | 41.250 | 60.000 |' in run('analysis_tools/print_curves', tmp_path)
    with pytest.raises(SystemExit, match='is it the work dir of a training'):
        run('analysis_tools/print_curves', tmp_path / 'empty')


def test_seconds_of_epochs(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS / 'benchmarks')
    from bench_epoch import STAGES, WHOLE, table

    extract, label, correct = STAGES
    scalars = {
        WHOLE: {1: 40.0, 2: 20.0},
        extract: {1: 5.0, 2: 3.0},
        label: {1: 4.0, 2: 2.0},
        correct: {2: 5.0},
    }
    assert rows(table(scalars))[1:] == [
        ['1', '40.0', '5.0', '4.0', '0.0', '31.0', '22 %'],
        ['2', '20.0', '3.0', '2.0', '5.0', '10.0', '50 %'],
    ]
