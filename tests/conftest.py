"""Settings for all tests, and fixtures that many share. Helpers called by name: tests/runs.py and tests/utils.py."""

import gc
import os

# The tests are small: a second thread costs more than it brings, most of all beside other processes. The libraries
# read this when they are first imported, which is after this line.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# Trainings are compared bit for bit, which takes a CPU, and start more processes than there may be GPUs. So tests see a
# GPU in a lane of their own only: GLC_TEST_GPU=1 python -m pytest -m gpu.
if 'GLC_TEST_GPU' not in os.environ:
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

from types import SimpleNamespace

import pytest
import torch

from glc.registry import MODELS
from tests.runs import tiny_config, warm_python, write_images


def pytest_collection_finish() -> None:
    """Take modules and tests out of garbage collections: each looks through them for half a second.

    mmengine collects for every data set.
    """
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Give them back, or libraries report leaks below pytest's summary."""
    gc.unfreeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip the tests of a GPU where they see none."""
    if item.get_closest_marker('gpu') and not torch.cuda.is_available():
        pytest.skip('needs a GPU, and GLC_TEST_GPU=1')


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


@pytest.fixture
def warm(tmp_path):
    """Path of an interpreter for scripts that has imported everything."""
    with warm_python(tmp_path) as python:
        yield python
