"""tools/compare_runs.py says where two runs differ first."""

import json
import runpy
import shutil
import sys

import pytest
import torch

from glc.checkpoints import load_checkpoint_file
from tests.runs import ROOT, tiny_config, train, write_images


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp('compare')
    images = write_images(root / 'market1501')
    train(tiny_config(images, root / 'one'))
    return root / 'one'


@pytest.fixture
def compare(run, tmp_path, monkeypatch, capsys):
    """Compares the run with a copy that is changed by a function; returns the lines and the exit status."""
    other = tmp_path / 'other'
    shutil.copytree(run, other)

    def call(change=lambda folder: None):
        change(other)
        monkeypatch.setattr(sys, 'argv', ['compare_runs.py', str(run), str(other)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(ROOT / 'tools/compare_runs.py'), run_name='__main__')
        return capsys.readouterr().out.splitlines(), ended.value.code

    return call


@pytest.mark.slow
def test_equal_runs(compare):
    lines, status = compare()
    assert lines == [
        'equal: settings (1), seed (1), processes (1), device (1), versions (1), training_set (1), command (1), '
        'labels (2), losses (4), weights (2)',
        'no difference',
    ]
    assert status == 0


def test_a_run_keeps_what_it_was_made_of(run):
    record = json.loads(next(run.glob('*/run.json')).read_text())
    meta = load_checkpoint_file(run / 'epoch_1.pth')['meta']
    assert record.keys() == {'command', 'seed', 'processes', 'device', 'versions', 'training_set'}
    assert {key: meta[key] for key in record} == record
    assert record['versions'].startswith('glc ')
    assert record['training_set'].keys() == {'images', 'digest'}


def changed_config(folder):
    path = next(folder.glob('*.py'))
    path.write_text(path.read_text().replace('momentum=0.9', 'momentum=0.8'))


def changed_record(folder):
    path = next(folder.glob('*/run.json'))
    path.write_text(path.read_text().replace('"glc ', '"glc 9'))


def changed_loss(folder):
    path = next(folder.glob('*/vis_data/scalars.json'))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    last = [line for line in lines if 'loss' in line][2]
    last['loss'] += 1
    path.write_text('\n'.join(map(json.dumps, lines)))


def changed_weights(folder):
    content = load_checkpoint_file(folder / 'epoch_2.pth')
    name = next(name for name in content['state_dict'] if 'weight' in name)
    content['state_dict'][name][0] += 0.5
    torch.save(content, folder / 'epoch_2.pth')


def without_labels(folder):
    shutil.rmtree(folder / 'labels')


@pytest.mark.parametrize(
    ('change', 'first', 'line'),
    [
        (changed_config, 'setting optim_wrapper.optimizer.momentum', ': 0.9 and 0.8'),
        (changed_record, 'versions', ': ['),
        (changed_loss, 'losses of epoch 2', ' at iteration 3'),
        (changed_weights, 'weights of epoch 2', ': 1 of '),
    ],
)
def test_the_first_difference_is_named(compare, change, first, line):
    lines, status = compare(change)
    assert lines[-1] == f'first difference: {first}'
    assert lines[0].startswith(f'{first}: ')
    assert line in lines[0]
    assert status == 1


def test_what_one_run_lacks_is_not_compared(compare):
    lines, status = compare(without_labels)
    assert 'not compared, as one run or both lack them: labels' in lines
    assert status == 0


def test_other_labels_come_before_their_losses(compare, run):
    import numpy as np

    def change(folder):
        changed_loss(folder)
        with np.load(folder / 'labels/epoch_2.npz') as file:
            arrays = dict(file)
        arrays['labels'][0] += 1
        arrays.pop('corrected', None)
        np.savez(folder / 'labels/epoch_2.npz', **arrays)

    lines, _ = compare(change)
    assert lines[-1] == 'first difference: labels of epoch 2'
    assert lines[0].startswith('labels of epoch 2: ')
