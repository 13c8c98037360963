"""Settings for all tests, and what many of them share; helpers are in tests/runs.py and tests/utils.py."""

import os

# The tests are small: a second thread costs more than it brings, most of all beside other processes. The libraries
# read this when they are first imported, which is after this line.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest

from tests.runs import write_images


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A small data set in Market-1501 layout, for reading only."""
    return write_images(tmp_path_factory.mktemp('images') / 'market1501')
