"""Checkpoints hold plain values only."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from glc.engine import PlainCheckpointHook
from glc.engine.resume import training_set_of
from tests.runs import tiny_config, train


def test_plain_values_survive_and_the_rest_goes(tmp_path):
    hub = MessageHub('plain_checkpoint')
    values = {
        'best_score': np.float32(0.5),
        'epoch': np.int64(3),
        'iter': 9,
        'name': 'x',
        'done': True,
        'lr': 0.1,
    }
    for name, value in {**values, 'loss': torch.ones(1), 'list': [1], 'array': np.ones(2)}.items():
        hub.update_info(name, value)
    hub.update_scalar('train/loss', 2.0)
    checkpoint = {'meta': {}, 'message_hub': hub.state_dict(), 'state_dict': {'weight': torch.ones(2)}}
    run = SimpleNamespace(train_dataloader=SimpleNamespace(dataset=range(5)))
    PlainCheckpointHook().before_save_checkpoint(run, checkpoint)
    torch.save(checkpoint, tmp_path / 'plain.pth')

    loaded = torch.load(tmp_path / 'plain.pth', weights_only=True)
    assert torch.equal(loaded['state_dict']['weight'], torch.ones(2))
    assert loaded['meta']['training_set'] == training_set_of(range(5))
    assert loaded['message_hub']['runtime_info'] == values
    assert not [
        value for value in loaded['message_hub']['runtime_info'].values() if isinstance(value, np.generic)
    ]
    resumed = MessageHub('plain_checkpoint_resumed')
    resumed.load_state_dict(loaded['message_hub'])
    assert resumed.get_info('best_score') == 0.5
    assert not resumed.log_scalars  # smoothed values start again
    assert set(loaded['message_hub']['resumed_keys']) == set(values)
    for name, value in values.items():  # a resumed value may be updated again
        resumed.update_info(name, value, resumed=True)
    assert hub.get_scalar('train/loss').current() == 2.0  # the run goes on with its own


@pytest.mark.slow
def test_checkpoints_of_a_run_load_without_running_code(images, tmp_path):
    train(tiny_config(images, tmp_path, train_cfg__max_epochs=1))
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=True)
    labels = checkpoint['pseudo_labels']['labels']
    assert len(labels) == 48
    assert checkpoint['pseudo_labels']['centroids'].shape == (labels.max() + 1, 32)
    assert checkpoint['message_hub']['runtime_info']['epoch'] == 0
    assert not [name for name in checkpoint['state_dict'] if 'bank' in name or 'pseudo_labels' in name]
