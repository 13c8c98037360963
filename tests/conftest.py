"""What many test modules share; helpers that are called by name are in tests/runs.py and tests/utils.py."""

import pytest

from tests.runs import write_images


@pytest.fixture(scope='session')
def images(tmp_path_factory):
    """A small data set in Market-1501 layout, for reading only."""
    return write_images(tmp_path_factory.mktemp('images') / 'market1501')
