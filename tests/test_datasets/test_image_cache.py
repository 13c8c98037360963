"""The cache of decoded images: the same images, decoded once, whoever reads them."""

import gc
import os
import pickle
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from glc.datasets import ConcatDataset, Draw, Market1501, image_cache
from glc.datasets.transforms import LoadReIDImage
from tests.runs import assert_same, log, state, tiny_config, train

RESIZE = dict(type='Resize', scale=(32, 64), backend='pillow', interpolation='bicubic')
PACK = dict(
    type='PackReIDInputs', meta_keys=('ori_shape', 'img_shape', 'scale', 'scale_factor', 'keep_ratio')
)
TEST = [dict(type='LoadReIDImage'), RESIZE, PACK]
TRAIN = [
    *TEST[:2],
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=4, size=(32, 64)),
    PACK,
]


@pytest.fixture
def folder(tmp_path):
    """Images of several sizes."""
    root = tmp_path / 'market'
    (root / 'bounding_box_train').mkdir(parents=True)
    rng = np.random.default_rng(0)
    for pid in range(1, 7):
        image = rng.integers(0, 256, (60 + pid, 30, 3), dtype=np.uint8)
        cv2.imwrite(str(root / f'bounding_box_train/{pid:04d}_c1s1_000001_00.jpg'), image)
    return root


@pytest.fixture
def decoded(monkeypatch):
    """Paths that this process decodes."""
    paths = []
    original = LoadReIDImage.transform

    def transform(self, results):
        paths.append(results['img_path'])
        return original(self, results)

    monkeypatch.setattr(LoadReIDImage, 'transform', transform)
    return paths


def market(root: Path, pipeline: list = TEST, where: str = 'off') -> Market1501:
    """The images, with a cache."""
    dataset = Market1501(str(root), pipeline=pipeline, check='off')
    dataset.cache_images(where)
    return dataset


def assert_same_items(first: Market1501, second: Market1501) -> None:
    """Pixels and what is known of each image, of augmented draws too."""
    for index in range(len(first)):
        one, other = first[Draw(index, index)], second[Draw(index, index)]
        assert torch.equal(one['inputs'], other['inputs'])
        assert one['data_samples'].metainfo == other['data_samples'].metainfo


@pytest.mark.parametrize('where', ['auto', 'cache/'])
@pytest.mark.parametrize('pipeline', [TEST, TRAIN])
def test_cached_images_are_the_same_and_decoded_once(folder, decoded, tmp_path, monkeypatch, where, pipeline):
    monkeypatch.chdir(tmp_path)
    plain, cached = market(folder, pipeline), market(folder, pipeline, where)
    for _ in range(3):
        assert_same_items(plain, cached)
    assert len(decoded) == 3 * len(plain) + len(cached)


def test_another_pipeline_and_a_subset_share_the_images(folder, decoded):
    training = market(folder, TRAIN, 'auto')
    plain = market(folder, TEST)
    assert_same_items(plain, training.with_pipeline(TEST))
    decoded.clear()
    for index in range(len(training)):
        training[index]
    assert len(training.get_subset([4, 2])) == 2
    assert_same_items(training.get_subset([4, 2]), market(folder, TRAIN).get_subset([4, 2]))
    assert len(decoded) == 2  # of the one without a cache
    other = training.with_pipeline([TEST[0], dict(RESIZE, scale=(16, 32)), PACK])
    assert other[0]['inputs'].shape == (3, 32, 16)
    assert len(decoded) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    'read', [lambda dataset: dataset, lambda dataset: pickle.loads(pickle.dumps(dataset))]
)
def test_worker_processes_fill_and_read_one_block(folder, decoded, read):
    """Workers get the data set by a fork, or pickled."""
    dataset = market(folder, TEST, 'auto')
    loader = DataLoader(read(dataset), None, num_workers=2, multiprocessing_context='fork')
    images = [item['inputs'].clone() for item in loader]
    again = [dataset[index]['inputs'] for index in range(len(dataset))]
    assert not decoded  # here: the workers did it
    assert torch.equal(torch.stack(images), torch.stack(again))


def test_processes_share_a_file_until_an_image_changes(folder, decoded, tmp_path):
    where = f'{tmp_path}/cache/'
    read = market(folder, TEST, where)
    process = get_context('fork').Process(target=lambda: [read[index] for index in range(3)])
    process.start()
    process.join()
    another = market(folder, TEST, where)
    assert_same_items(market(folder), another)
    assert len(decoded) == len(read) + len(read) - 3
    path = folder / 'bounding_box_train/0001_c1s1_000001_00.jpg'
    cv2.imwrite(str(path), np.full((64, 32, 3), 200, np.uint8))
    os.utime(path, (0, time.time() + 5))
    changed = market(folder, TEST, where)
    assert_same_items(market(folder), changed)
    assert len(list(Path(where).iterdir())) == 2


def test_a_damaged_image_of_a_file_is_decoded_again(folder, decoded, tmp_path):
    where = f'{tmp_path}/cache/'
    dataset = market(folder, TEST, where)
    expected = [dataset[index]['inputs'] for index in range(len(dataset))]
    (file,) = Path(where).iterdir()
    content = bytearray(file.read_bytes())
    content[100] ^= 1  # a pixel of the first image
    file.write_bytes(content)
    decoded.clear()
    again = market(folder, TEST, where)
    assert all(torch.equal(again[index]['inputs'], expected[index]) for index in range(len(again)))
    assert len(decoded) == 1


def test_writing_to_an_image_does_not_change_the_cache(folder):
    class Blacken:
        def __call__(self, results):
            results['img'][:] = 0
            return results

    dataset = market(folder, TEST, 'auto')
    expected = dataset[0]['inputs'], dataset[0]['inputs']
    dataset.with_pipeline([*TEST[:2], Blacken(), PACK])[0]
    assert torch.equal(dataset[0]['inputs'], expected[0])


def test_parts_of_several_data_sets_have_caches(folder, decoded, tmp_path):
    other = tmp_path / 'other'
    (other / 'bounding_box_train').mkdir(parents=True)
    cv2.imwrite(str(other / 'bounding_box_train/0001_c1s1_000001_00.png'), np.full((50, 20, 3), 9, np.uint8))
    parts = [dict(type='Market1501', data_root=str(root), check='off') for root in (folder, other)]
    plain, cached = ConcatDataset(parts, pipeline=TRAIN), ConcatDataset(parts, pipeline=TRAIN)
    cached.cache_images()
    assert_same_items(plain, cached)
    decoded.clear()
    assert_same_items(plain.with_pipeline(TEST), cached.with_pipeline(TEST))
    assert len(decoded) == len(plain)


def test_no_cache_where_it_does_not_fit_or_the_pipeline_begins_otherwise(
    folder, monkeypatch, tmp_path, caplog
):
    messages = []
    monkeypatch.setattr(image_cache, 'print_log', lambda text, *_: messages.append(text))
    monkeypatch.setattr(image_cache, 'available_memory', lambda: 4 * 6 * (64 * 32 * 3 + 12) - 1)
    assert_same_items(market(folder, TEST, 'auto'), market(folder))
    assert 'more than 25% of what is available' in messages.pop()
    monkeypatch.setattr(image_cache, 'available_memory', lambda: 4 * 6 * (64 * 32 * 3 + 12))
    market(folder, TEST, 'auto')
    assert '6 images of 32 x 64 pixels' in messages.pop()
    market(folder, [TEST[0], dict(RESIZE, keep_ratio=True), PACK], 'auto')
    assert 'does not begin with LoadReIDImage and Resize' in messages.pop()

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'posix_fallocate', full)
    assert_same_items(market(folder, TEST, f'{tmp_path}/cache/'), market(folder))
    assert 'No space left on device' in messages.pop()
    assert not list((tmp_path / 'cache').iterdir())


def test_memory_is_given_back(folder):
    gc.collect()  # what other tests have left
    before = len(os.listdir('/proc/self/fd'))
    dataset = market(folder, TEST, 'auto')
    dataset[0]
    assert len(os.listdir('/proc/self/fd')) > before
    del dataset
    gc.collect()
    assert len(os.listdir('/proc/self/fd')) == before


def test_images_of_an_lmdb_are_not_kept(folder, monkeypatch):
    messages = []
    monkeypatch.setattr(image_cache, 'print_log', lambda text, *_: messages.append(text))
    original = Market1501.get_data_info
    monkeypatch.setattr(Market1501, 'get_data_info', lambda *args: {**original(*args), 'lmdb': 'a'})
    market(folder, TEST, 'auto')
    assert messages == ['Market1501 train: no image cache: its images are not in files']


def test_a_word_that_is_no_folder_is_refused(folder):
    with pytest.raises(ValueError, match=r"image_cache='on' is neither 'auto' nor 'off'"):
        market(folder, TEST, 'on')


@pytest.mark.slow
def test_a_training_and_its_resume_are_the_same_with_a_cache_and_workers(images, tmp_path, decoded):
    plain = train(tiny_config(images, tmp_path / 'plain', image_cache='off'))
    without = len(decoded)
    decoded.clear()
    cached = train(tiny_config(images, tmp_path / 'cached', image_cache='auto'))
    assert_same(state(plain), state(cached))
    assert len(decoded) == 48 + 32 < without  # each training image once, and those of the test
    assert 'Market1501 train: image cache for 48 images of 32 x 64 pixels' in log(cached)
    options = dict(
        image_cache=f'{tmp_path}/cache/',
        train_dataloader__num_workers=1,
        train_dataloader__persistent_workers=True,
        default_hooks__pseudo_label__num_workers=1,
    )
    resumed = train(tiny_config(images, tmp_path / 'resumed', **options), tmp_path / 'plain/epoch_1.pth')
    assert_same(state(plain), state(resumed))
    assert 'WARNING' not in log(resumed)
