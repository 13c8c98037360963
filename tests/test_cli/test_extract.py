"""``glc-extract``, as a command line calls it."""

import csv

import numpy as np
import pytest

from glc.apis import ReIDInferencer
from glc.cli.extract import main
from glc.engine import FeatureExtractor


def test_features_and_a_table(network, tmp_path, capsys):
    out = tmp_path / 'new/features.npz'
    main([*map(str, [network.config, network.weights, network.images]), '--out', str(out), '--workers', '0'])
    expected = ReIDInferencer(network.config, network.weights)(network.images)
    with np.load(out) as file:
        assert sorted(file) == ['cam', 'features', 'network', 'path', 'pid']
        np.testing.assert_array_equal(file['features'], expected.features)
        np.testing.assert_array_equal(file['cam'], expected.cam_ids)
        assert file['path'].tolist() == expected.names
        assert str(file['network']) == expected.network
    with out.with_suffix('.csv').open(newline='') as table:
        rows = list(csv.DictReader(table))
    assert [row['path'] for row in rows] == expected.names
    assert [int(row['pid']) for row in rows] == expected.pids.tolist()
    assert [int(row['cam']) for row in rows] == expected.cam_ids.tolist()
    assert [int(row['row']) for row in rows] == list(range(48))
    assert '48 images, 32 channels, 8 identities, 2 cameras' in capsys.readouterr().out


def test_options_reach_the_extraction(network, tmp_path):
    arguments = [*map(str, [network.config, network.weights, network.images])]
    options = ['--pattern', 'none', '--batch-size', '5', '--workers', '0', '--flip-test', '--device', 'cpu']
    main([*arguments, '--out', str(tmp_path / 'x.npz'), *options])
    expected = ReIDInferencer(network.config, network.weights, flip_test=True)(network.images, batch_size=5)
    with np.load(tmp_path / 'x.npz') as file:
        np.testing.assert_array_equal(file['features'], expected.features)
        assert set(file['pid'].tolist()) == {-1}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--out', 'file/x.npz'], "file' is no folder: nothing can be written to '.*x.npz'"),
        (['--out', 'x.npz', '--pattern', '('], 'is no regular expression'),
        (['--out', 'x.npz', '--batch-size', '0'], "'batch_size' parameter .* Got 0"),
        (['--out', 'x.npz', '--camera-norm', '--pattern', 'none'], 'no camera has 64 images'),
        (['--out', 'x.npz', '--workers', '-1'], "'num_workers' parameter .* Got -1"),
    ],
)
def test_what_cannot_end_well_ends_before_the_work(network, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').touch()
    monkeypatch.setattr(FeatureExtractor, '__call__', lambda *_: pytest.fail('features were extracted'))
    with pytest.raises(SystemExit, match=message):
        main([*map(str, [network.config, network.weights, network.images]), *options])


def test_ctrl_c_is_one_line(network, tmp_path, monkeypatch, capsys):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FeatureExtractor, '__call__', pressed)
    arguments = [*map(str, [network.config, network.weights, network.images])]
    with pytest.raises(SystemExit) as caught:
        main([*arguments, '--out', str(tmp_path / 'x.npz'), '--workers', '0'])
    assert caught.value.code == 130
    assert capsys.readouterr().err.endswith('glc-extract: stopped\n')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('weights', 'place', 'message'),
    [
        ('missing.pth', '.', "error: checkpoint '.*missing.pth' does not exist"),
        ('-', '.', 'error: the network of this config starts from random weights'),
        (None, 'missing', "missing' does not exist"),
    ],
)
def test_errors_are_one_line(network, tmp_path, weights, place, message):
    arguments = [str(network.config), weights or str(network.weights), place]
    with pytest.raises(SystemExit, match=message):
        main([*arguments, '--out', str(tmp_path / 'x.npz')])
    assert not (tmp_path / 'x.npz').exists()
