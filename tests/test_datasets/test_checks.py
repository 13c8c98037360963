"""Files that are in the training and in the test set."""

import os

import pytest

from glc.apis import build_runner, prepare_config
from glc.datasets import ImageFolderReID
from glc.datasets.checks import warn_of_overlap
from tests.runs import tiny_config, write_images

from .layouts import write_image


@pytest.fixture
def logged(monkeypatch):
    """What is logged."""
    lines = []
    monkeypatch.setattr('glc.datasets.checks.print_log', lambda message, **_: lines.append(message))
    return lines


@pytest.mark.parametrize('how', ['same name', 'symlink', 'hardlink', 'folder'])
def test_files_in_both_sets_are_named(tmp_path, logged, how):
    for number, name in enumerate(('train/1.jpg', 'train/2.jpg', 'query/3.jpg', 'other/4.jpg')):
        write_image(tmp_path / name, seed=number)
    gallery, target = tmp_path / 'gallery', tmp_path / 'gallery' / 'x.jpg'
    if how == 'same name':
        gallery, target = tmp_path / 'train', tmp_path / 'train' / '1.jpg'
    elif how == 'folder':
        gallery.symlink_to(tmp_path / 'train')
        target = gallery / '1.jpg'
    else:
        gallery.mkdir()
        getattr(target, f'{how}_to')(tmp_path / 'train' / '2.jpg')
    train = ImageFolderReID(tmp_path, folders=dict(train='train'))
    test = ImageFolderReID(tmp_path, split='test', folders=dict(train='train', gallery=gallery.name))
    warn_of_overlap(train, test)
    (line,) = logged
    count = 1 if how.endswith('link') else 2
    assert line.startswith(
        f"{count} of {len(test)} test images are files of the training set too, such as '{target}'"
    )
    logged.clear()
    warn_of_overlap(ImageFolderReID(tmp_path, folders=dict(train='other')), test)
    assert logged == []


def test_very_many_files_are_not_looked_at(tmp_path, logged, monkeypatch):
    for number in range(3):
        write_image(tmp_path / f'{number}.jpg', seed=1)
    monkeypatch.setattr('glc.datasets.checks._MOST_FILES', 2)
    data = ImageFolderReID(tmp_path, pattern=r'(?P<pid>\d)')
    (line,) = logged
    assert line.startswith('the contents of 3 images are not compared')
    warn_of_overlap(data, data)
    assert len(logged) == 1


@pytest.mark.slow
def test_a_training_with_an_evaluation_compares_its_sets(tmp_path, logged):
    images = write_images(tmp_path / 'images', num_ids=4)
    cfg = tiny_config(images, tmp_path / 'run')
    for name in os.listdir(images / 'bounding_box_train')[:3]:
        (images / 'bounding_box_test' / name).symlink_to(images / 'bounding_box_train' / name)
    runner = build_runner(prepare_config(cfg))
    runner.build_val_loop(runner._val_loop)
    assert logged == []
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.build_val_loop(runner._val_loop)
    (line,) = logged
    assert line.startswith('3 of ')
