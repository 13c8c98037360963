"""What all data sets share: check of counts, unreadable images, seeded augmentation, pipelines."""

import random
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from glc.datasets import BaseReIDDataset, Counts, Draw, Market1501, Record
from glc.datasets.base import seeded
from glc.registry import DATASETS

from .layouts import write_market

LOAD = [dict(type='LoadReIDImage'), dict(type='PackReIDInputs')]
AUGMENT = [
    dict(type='LoadReIDImage'),
    dict(type='Resize', scale=(32, 64), backend='pillow', interpolation='bicubic'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PadRandomCrop', padding=5, size=(32, 64)),
    dict(type='RandomErasing', prob=0.5),
    dict(type='PackReIDInputs'),
]


class Listed(BaseReIDDataset):
    """Known records, without files."""

    records: ClassVar[dict] = {
        'train': [Record('a', 5, 0), Record('b', -9, 1), Record('c', 0, 1), Record('d', 6, 2)],
        'query': [Record('q', 5, 0)],
        'gallery': [Record('g', 5, 1), Record('h', 6, -1)],
    }
    junk_pid = -9
    distractor_pid = 0

    def scan(self, part):
        return self.records[part]


def pack(batch):
    """Pixels, boxes and indices of a batch."""
    return (
        torch.stack([item['inputs'] for item in batch]),
        [item['data_samples'].get('erase_box') for item in batch],
        [item['data_samples'].sample_idx for item in batch],
    )


def test_counts_leave_out_junk_and_do_not_name_distractors():
    assert Listed.count(Listed.records['train']) == Counts(images=3, ids=2, cams=3, junk=1, distractors=1)


def test_summary_says_what_was_found():
    place = f"Listed in '{Path('root').absolute()}'"
    assert Listed('root', split='train').summary() == [
        place,
        'train: 3 images (1 distractors), 2 identities, 3 cameras; 1 junk left out',
    ]
    assert Listed('root', split='test', check='off', indices=2).summary() == [
        place,
        'query: 1 images, 1 identities, 1 cameras',
        'gallery: 2 images, 2 identities, 1 cameras',
        '2 of these images are used',
    ]
    unknown = type('Unknown', (Listed,), {'records': {'train': [Record('a', -1, -1)] * 1200}})
    assert unknown('root').summary()[1:] == ['train: 1,200 images, no known identity, no known camera']


def test_columns_follow_the_list_and_its_subsets():
    dataset = Listed('root', split='train')
    np.testing.assert_array_equal(dataset.pids, [5, 0, 6])
    np.testing.assert_array_equal(dataset.cam_ids, [0, 1, 2])
    assert dataset.pids.dtype == dataset.cam_ids.dtype == np.int64
    assert dataset.pids is dataset.pids
    np.testing.assert_array_equal(dataset.get_subset([2, 0]).pids, [6, 5])
    np.testing.assert_array_equal(dataset.pids, [5, 0, 6])
    dataset.get_subset_([1, 2])
    np.testing.assert_array_equal(dataset.pids, [0, 6])


@pytest.mark.parametrize('serialize_data', [True, False])
def test_test_split_is_queries_then_gallery(serialize_data):
    dataset = Listed('root', split='test', serialize_data=serialize_data)
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['img_path'] for info in infos] == ['q', 'g', 'h']
    assert [info['is_query'] for info in infos] == [True, False, False]
    assert [info['sample_idx'] for info in infos] == [0, 1, 2]
    np.testing.assert_array_equal(dataset.cam_ids, [0, 1, -1])


def test_empty_split_is_an_error():
    class Empty(Listed):
        records: ClassVar[dict] = {'train': [Record('b', -9, 1)]}

    with pytest.raises(RuntimeError, match='no usable image'):
        Empty('root')


@pytest.mark.parametrize('argument', ['split', 'check', 'unreadable'])
def test_unknown_argument_value_is_named(argument):
    with pytest.raises(ValueError, match=f'{argument}=.*nonsense'):
        Listed('root', **{argument: 'nonsense'})


class Published(Listed):
    published_counts: ClassVar[dict] = {'train': Counts(images=3, ids=2, cams=3), 'query': Counts(4, 2, 2)}


def test_complete_part_passes_the_check():
    assert len(Published('root', split='train')) == 3


def test_incomplete_part_is_an_error_that_says_how_to_go_on():
    with pytest.raises(RuntimeError) as caught:
        Published('root', split='test')
    message = str(caught.value)
    assert 'query: 1 of 4 images, 1 of 2 ids, 1 of 2 cams' in message
    assert 'gallery' not in message
    assert 'val_dataloader.dataset.check=warn' in message
    assert 'verify_dataset.py Published root' in message


@pytest.mark.parametrize(('check', 'warnings'), [('warn', 1), ('off', 0)])
def test_incomplete_part_can_be_used(check, warnings, monkeypatch):
    logged = []
    monkeypatch.setattr('glc.datasets.base.print_log', lambda message, **_: logged.append(message))
    assert len(Published('root', split='test', check=check)) == 3
    assert len(logged) == warnings
    assert all('1 of 4 images' in message for message in logged)


def test_wrong_identities_fail_the_check_although_the_images_are_as_many():
    class Mixed(Published):
        published_counts: ClassVar[dict] = {'train': Counts(images=3, ids=1, cams=3)}

    with pytest.raises(RuntimeError, match='2 of 1 ids'):
        Mixed('root')


def test_check_comes_before_the_images_are_read(tmp_path, monkeypatch):
    root = write_market(tmp_path)
    monkeypatch.setattr(Market1501, '_readable', lambda *_: pytest.fail('images were read'))
    with pytest.raises(RuntimeError, match='3 of 12,936 images'):
        Market1501(root, unreadable='skip')


@pytest.mark.parametrize('content', [b'', b'no image', 'truncated'])
def test_unreadable_image(tmp_path, monkeypatch, content):
    root = write_market(tmp_path)
    bad = root / 'bounding_box_train' / '0002_c2s1_000301_01.jpg'
    bad.write_bytes(bad.read_bytes()[:100] if content == 'truncated' else content)

    dataset = Market1501(root, pipeline=LOAD, check='off')
    assert dataset[0]['inputs'].shape == (3, 64, 32)
    with pytest.raises(RuntimeError, match=f"{bad.name}.*unreadable='skip'"):
        dataset[1]

    logged = []
    monkeypatch.setattr('glc.datasets.base.print_log', lambda message, **_: logged.append(message))
    dataset = Market1501(root, pipeline=LOAD, check='off', unreadable='skip')
    assert len(dataset) == len([dataset[index] for index in range(len(dataset))]) == 2
    assert len(logged) == 1
    assert 'left out 1 unreadable of 3 images' in logged[0]
    assert bad.name in logged[0]


def test_nothing_is_logged_where_all_images_are_readable(tmp_path, monkeypatch):
    root = write_market(tmp_path)
    monkeypatch.setattr('glc.datasets.base.print_log', lambda *_, **__: pytest.fail('something was logged'))
    assert len(Market1501(root, check='off', unreadable='skip')) == 3


def test_unreadable_image_is_named_by_a_worker(tmp_path):
    root = write_market(tmp_path)
    bad = root / 'bounding_box_train' / '0002_c2s1_000301_01.jpg'
    bad.write_bytes(b'')
    dataset = Market1501(root, pipeline=LOAD, check='off')
    with pytest.raises(RuntimeError, match=bad.name):
        list(DataLoader(dataset, batch_size=3, num_workers=1, collate_fn=pack))


def test_draws_do_not_depend_on_the_number_of_workers(tmp_path):
    dataset = Market1501(write_market(tmp_path), pipeline=AUGMENT, check='off')
    draws = [Draw(index % 3, seed) for seed, index in enumerate(range(24))]
    batches = []
    for workers in (0, 2):
        torch.manual_seed(workers)
        loader = DataLoader(dataset, batch_size=4, sampler=draws, num_workers=workers, collate_fn=pack)
        batches.append(list(loader))
    for (images, boxes, indices), (other_images, other_boxes, other_indices) in zip(*batches, strict=True):
        assert torch.equal(images, other_images)
        assert boxes == other_boxes
        assert indices == other_indices
    everything = [box for _, boxes, _ in batches[0] for box in boxes]
    assert None in everything
    assert len(set(everything)) > 6


def test_seeded_draws_are_those_of_a_seeded_generator():
    with seeded(7):
        found = random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002
    assert found[:2] == (random.Random(7).random(), np.random.RandomState(7).random())
    assert found[2] == torch.rand((), generator=torch.Generator().manual_seed(7)).item()


def test_draw_depends_on_its_seed_and_leaves_the_generators_alone(tmp_path):
    dataset = Market1501(write_market(tmp_path), pipeline=AUGMENT, check='off')

    def streams():
        return random.random(), np.random.random(), torch.rand(()).item()  # noqa: NPY002

    def seed():
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    seed()
    expected = streams()
    seed()
    first = dataset[Draw(0, 2**40 + 3)]
    assert streams() == expected
    assert torch.equal(first['inputs'], dataset[Draw(0, 2**40 + 3)]['inputs'])
    assert any(not torch.equal(first['inputs'], dataset[Draw(0, other)]['inputs']) for other in range(8))


def test_generators_are_restored_after_an_error(tmp_path):
    dataset = Market1501(write_market(tmp_path), pipeline=[dict(type='PadRandomCrop')], check='off')
    state = torch.get_rng_state()
    with pytest.raises(KeyError):
        dataset[Draw(0, 5)]
    assert torch.equal(torch.get_rng_state(), state)


def test_with_pipeline_shares_the_list_and_leaves_the_original_alone(tmp_path):
    dataset = Market1501(write_market(tmp_path), pipeline=AUGMENT, check='off')
    other = dataset.with_pipeline(LOAD)
    assert type(other) is Market1501
    assert other.data_bytes is dataset.data_bytes
    assert len(other.pipeline.transforms) == 2
    assert len(dataset.pipeline.transforms) == len(AUGMENT)
    assert other.metainfo == dataset.metainfo
    np.testing.assert_array_equal(other.pids, dataset.pids)
    assert other[1]['data_samples'].sample_idx == 1


def test_builds_from_a_config_without_a_default_scope(tmp_path):
    config = dict(type='Market1501', data_root=str(write_market(tmp_path)), pipeline=AUGMENT, check='off')
    sample = DATASETS.build(config)[0]['data_samples']
    assert (sample.pid, sample.cam_id, sample.is_query) == (2, 0, False)
    assert sample.img_path.endswith('0002_c1s1_000451_03.jpg')
