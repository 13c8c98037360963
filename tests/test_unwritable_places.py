"""Whatever writes: where the disk is full or read-only, the earlier file stays, and the error names the new one.

A limit of the size of files stands for the full disk: the kernel stops the writing in the same way.
"""

import os
import resource
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glc.apis import Gallery, ReIDFeatures, build_runner, prepare_config
from glc.checkpoints import write_checkpoint_file
from glc.cli._common import save_picture
from glc.utils.files import atomic_folder, write_csv
from tests.runs import tiny_config

FEATURES = ReIDFeatures(np.random.default_rng(0).normal(size=(100, 8)), [f'{row}.jpg' for row in range(100)])
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@contextmanager
def full_disk(size=300):
    """No file grows beyond these bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def exported(path):
    from glc.deployment.exported import InputFormat
    from glc.deployment.exporting import export_network

    export_network(torch.nn.Flatten(), InputFormat(8, 4, 'rgb', (0, 0, 0), (1, 1, 1), batch=1), path, {})


def figure(path):
    from matplotlib.figure import Figure

    save_picture(Figure(), path)


def folder_of_pictures(path):
    with atomic_folder(path) as folder:
        NOISE.save(folder / 'a.png')


WRITERS = {
    'epoch_1.pth': lambda path: write_checkpoint_file({'weight': torch.ones(1000)}, path),
    'weights.safetensors': lambda path: write_checkpoint_file({'weight': torch.ones(1000)}, path),
    'features.npz': FEATURES.save,
    'features.csv': FEATURES.save_table,
    'table.csv': lambda path: write_csv(path, [range(1000)]),
    'gallery': lambda path: Gallery.of(FEATURES).save(path),
    'picture.png': lambda path: save_picture(NOISE, path),
    'picture.jpg': lambda path: save_picture(NOISE, path),
    'curves.svg': figure,
    'network.pt2': exported,
    'pictures': folder_of_pictures,
}


@pytest.mark.parametrize('name', WRITERS)
def test_the_earlier_file_stays_and_the_new_one_is_named(tmp_path, name):
    target = tmp_path / name
    WRITERS[name](target)
    before = content(tmp_path)
    with full_disk(), pytest.raises(OSError, match=f'File too large.*{name}'):
        WRITERS[name](target)
    assert content(tmp_path) == before


@contextmanager
def read_only_folder():
    """A folder in which nothing can be written, not by root either."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        folder = Path(root, 'folder')
        folder.mkdir(mode=0o555)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            folder.chmod(0o755)


@pytest.mark.parametrize('name', sorted(WRITERS.keys() - {'network.pt2', 'curves.svg'}))
def test_a_place_in_a_read_only_folder_is_named(tmp_path, name):
    WRITERS[name](tmp_path / name)  # imports what it needs, which another user may not read
    with read_only_folder() as folder:
        with pytest.raises(PermissionError, match=f'Permission denied.*{folder}/{name}'):
            WRITERS[name](folder / name)
        assert content(folder) == {}


def content(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob('*')}


@pytest.mark.slow
def test_what_mmengine_writes_is_named_by_the_work_dir(images, tmp_path):
    cfg = prepare_config(tiny_config(images, tmp_path))
    with full_disk(10), pytest.raises(OSError, match=f"File too large: '{tmp_path}'"):
        build_runner(cfg)
    runner = build_runner(cfg)
    with full_disk(10), pytest.raises(OSError, match=f"File too large: '{tmp_path}'"):
        runner.train()
