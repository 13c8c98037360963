"""Helpers that several test modules share."""

import os
from pathlib import Path

import pytest


def shared_data(relative_path: str) -> Path:
    """Path of a file of real data below ``$GLC_TEST_DATA``; skips the calling test where it is absent."""
    root = os.environ.get('GLC_TEST_DATA')
    if not root:
        pytest.skip('real data not available: GLC_TEST_DATA is not set')
    path = Path(root) / relative_path
    if not path.exists():
        pytest.skip(f'real data not available: {relative_path} is not below GLC_TEST_DATA')
    return path
