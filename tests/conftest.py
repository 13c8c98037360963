"""Settings for all tests, and fixtures that many share. Helpers called by name: tests/runs.py and tests/utils.py."""

import gc
import os

# The tests are small: a second thread costs more than it brings, most of all beside other processes. The libraries
# read this when they are first imported, which is after this line.
os.environ.setdefault('OMP_NUM_THREADS', '1')

from types import SimpleNamespace

import pytest
import torch

from glc.registry import MODELS
from tests.runs import tiny_config, write_images


def pytest_collection_finish() -> None:
    """Take modules and tests out of garbage collections: each looks through them for half a second.

    mmengine collects for every data set.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A small data set in Market-1501 layout, for reading only."""
    return write_images(tmp_path_factory.mktemp('images') / 'market1501')


@pytest.fixture(scope='session')
def network(images, tmp_path_factory):
    """A network of random weights: paths of its config, of its weights, and of 48 training images."""
    folder = tmp_path_factory.mktemp('network')
    cfg = tiny_config(images, folder / 'run')
    cfg.dump(folder / 'config.py')
    torch.manual_seed(0)
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, folder / 'weights.pth')
    return SimpleNamespace(
        config=folder / 'config.py', weights=folder / 'weights.pth', images=images / 'bounding_box_train'
    )
