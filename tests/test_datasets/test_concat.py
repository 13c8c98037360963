"""Several data sets as one: identities and cameras apart, every image in the pipeline of its own data set."""

import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import BaseDataset
from torch.utils.data import DataLoader

from glc.core.neighbors import FeatureView
from glc.datasets import BaseReIDDataset, ConcatDataset, Draw, LUPerson, Market1501, Record, pipeline_of
from glc.datasets.samplers import PseudoIdentitySampler
from glc.engine.hooks import PseudoLabelHook
from glc.registry import DATASETS

from ..runs import hook_of, log, tiny_config, train, write_images
from .layouts import write_image, write_market, write_market_like


class Listed(BaseReIDDataset):
    """Known records, without files; some identities and cameras are unknown."""

    ids: ClassVar[list] = [(4, 1), (-1, 0), (2, -1)]

    def scan(self, part):
        return [
            Record(f'{self.data_root}/{part}{number}.png', pid, cam)
            for number, (pid, cam) in enumerate(self.ids)
        ]


class Unknown(Listed):
    ids: ClassVar[list] = [(-1, -1), (-1, -1)]


class OneCamera(Listed):
    ids: ClassVar[list] = [(pid, 0) for pid in range(400)]


def resize(width, height):
    return [
        dict(type='LoadReIDImage'),
        dict(type='Resize', scale=(width, height), backend='pillow', interpolation='bicubic'),
        dict(type='PackReIDInputs'),
    ]


def market_and_duke(tmp_path, **common):
    return dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='Market1501', data_root=str(write_market(tmp_path / 'market')), pipeline=resize(32, 64)
            ),
            dict(
                type='DukeMTMCreID',
                data_root=str(write_market_like(tmp_path / 'duke', 'DukeMTMCreID')),
                pipeline=resize(16, 48),
            ),
        ],
        **{'check': 'off', **common},
    )


def test_identities_and_cameras_are_kept_apart_and_unknown_ones_stay_unknown():
    dataset = ConcatDataset([Listed('a'), Unknown('b'), Listed('c'), Listed('d')])
    np.testing.assert_array_equal(dataset.pids, [4, -1, 2, -1, -1, 9, -1, 7, 14, -1, 12])
    np.testing.assert_array_equal(dataset.cam_ids, [1, 0, -1, -1, -1, 3, 2, -1, 5, 4, -1])
    assert dataset.pids.dtype == dataset.cam_ids.dtype == np.int64
    infos = [dataset.get_data_info(index) for index in range(len(dataset))]
    assert [info['sample_idx'] for info in infos] == list(range(11))
    assert [info['part'] for info in infos] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert infos[5]['img_path'] == 'c/train0.png'
    assert dataset.get_data_info(-1) == infos[-1]
    with pytest.raises(IndexError):
        dataset.get_data_info(11)
    first, *parts = dataset.summary()
    assert first == '4 data sets, identities and cameras kept apart:'
    assert parts[:2] == ["  Listed in 'a'", '    3 images, 2 identities, 2 cameras']
    assert parts[2:4] == ["  Unknown in 'b'", '    2 images, 0 identities, 0 cameras']


def test_subsets(tmp_path):
    dataset = ConcatDataset([Listed('a'), Listed('b')])
    np.testing.assert_array_equal(dataset.get_subset([5, 0]).pids, [7, 4])
    np.testing.assert_array_equal(dataset.get_subset(-2).pids, [-1, 7])
    dataset.get_subset_([3, 4])
    np.testing.assert_array_equal(dataset.pids, [9, -1])
    np.testing.assert_array_equal(dataset.cam_ids, [3, 2])


def test_every_image_goes_through_the_pipeline_of_its_data_set(tmp_path):
    dataset = DATASETS.build(market_and_duke(tmp_path))
    assert len(dataset) == 5
    assert [tuple(dataset[index]['inputs'].shape[1:]) for index in range(5)] == [(64, 32)] * 3 + [
        (48, 16)
    ] * 2
    sample = dataset[Draw(4, seed=3)]['data_samples']
    assert (sample.sample_idx, sample.pid, sample.cam_id) == (4, 7 + 1 + 5, 2 + 1 + 1)
    assert sample.img_path.endswith('duke/bounding_box_train/0005_c2_f0046985.jpg')
    assert dataset.metainfo['dataset_name'] == 'Market1501 + DukeMTMC-reID'

    extraction = dataset.with_pipeline(resize(8, 24))
    assert {tuple(extraction[index]['inputs'].shape[1:]) for index in range(5)} == {(24, 8)}
    assert dataset[0]['inputs'].shape[1:] == (64, 32)
    np.testing.assert_array_equal(extraction.pids, dataset.pids)


def test_arguments_beside_the_parts_are_those_of_all_parts(tmp_path):
    dataset = DATASETS.build(market_and_duke(tmp_path, pipeline=resize(8, 24), split='test'))
    assert {tuple(dataset[index]['inputs'].shape[1:]) for index in range(len(dataset))} == {(24, 8)}
    is_query = [dataset.get_data_info(index)['is_query'] for index in range(len(dataset))]
    assert is_query == [True, True, False, False, False, True, False, False]
    with pytest.raises(RuntimeError, match='3 of 12,936 images'):
        DATASETS.build(market_and_duke(tmp_path, check='published'))


def test_workers_and_pickles_see_the_same_entries(tmp_path):
    dataset = DATASETS.build(market_and_duke(tmp_path, pipeline=resize(8, 24)))
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy.pids, dataset.pids)
    batches = [
        batch
        for workers in (0, 2)
        for batch in DataLoader(dataset, batch_size=5, num_workers=workers, collate_fn=list)
    ]
    for left, right in zip(*batches, strict=True):
        assert left['data_samples'].sample_idx == right['data_samples'].sample_idx
        assert torch.equal(left['inputs'], right['inputs'])


def test_a_data_set_may_be_lazy(tmp_path):
    lazy = DATASETS.build(market_and_duke(tmp_path, lazy_init=True))
    assert not lazy.datasets[0]._fully_initialized
    lazy.full_init()
    np.testing.assert_array_equal(lazy.pids, DATASETS.build(market_and_duke(tmp_path)).pids)


def test_unlabeled_millions_are_not_listed_one_by_one(tmp_path, monkeypatch):
    write_image(tmp_path / 'images' / 'a.jpg')
    monkeypatch.setattr(LUPerson, 'get_data_info', None)
    luperson = LUPerson(tmp_path, check='off')
    assert luperson.pids.tolist() == luperson.cam_ids.tolist() == [-1]


@pytest.mark.parametrize(
    ('datasets', 'common', 'error', 'said'),
    [
        ([], {}, ValueError, r'must be a list .*got \[\]'),
        (dict(type='Market1501', data_root='data'), {}, ValueError, 'must be a list .*data_root'),
        ([BaseDataset(lazy_init=True)], {}, TypeError, 'a part is a BaseDataset'),
        (['data/market1501'], {}, TypeError, 'a part is a str'),
        ([Listed('a'), Listed('b'), Listed('a')], {}, ValueError, "0 and 2 .*a/train0.png'.*two identities"),
        ([Listed('a')], {'check': 'warn'}, TypeError, 'check cannot be set of a Listed'),
    ],
)
def test_impossible_parts_are_refused(datasets, common, error, said):
    with pytest.raises(error, match=said):
        ConcatDataset(datasets, **common)


def test_pipeline_of_configs():
    one, other = resize(8, 24), resize(24, 8)
    assert pipeline_of(ConfigDict(type='Market1501', pipeline=one)) == one
    parts = [dict(type='Market1501', pipeline=one), dict(type='MSMT17', pipeline=one)]
    assert pipeline_of(ConfigDict(type='ConcatDataset', datasets=parts)) == one
    assert pipeline_of(ConfigDict(type='ConcatDataset', datasets=parts, pipeline=other)) == other
    parts[1]['pipeline'] = other
    with pytest.raises(ValueError, match=r'different pipelines: give it one, dataset\.pipeline'):
        pipeline_of(ConfigDict(type='ConcatDataset', datasets=parts))
    assert pipeline_of(ConfigDict(type='Market1501')) is None


def test_sampler_pairs_images_of_different_data_sets():
    """Camera 0 is another one in every data set, so a cluster over both has images of two cameras."""
    sampler = PseudoIdentitySampler(
        ConcatDataset([OneCamera('a'), OneCamera('b')]), num_ids=1, num_instances=2, iterations=8
    )
    sampler.assign_labels(torch.zeros(800, dtype=torch.int64))
    drawn = torch.tensor([draw.index for draw in sampler]).view(8, 2)
    assert ((drawn < 400).sum(1) == 1).all()


def test_cameras_are_centered_per_data_set():
    """Each of two data sets with one camera 0 has its own mean taken out."""
    dataset = ConcatDataset([OneCamera('a'), OneCamera('b')])
    features = torch.randn(800, 8, generator=torch.Generator().manual_seed(0))
    features[:, 0] += torch.tensor([4.0] * 400 + [-4.0] * 400)
    unit = torch.nn.functional.normalize(features)
    view = FeatureView(unit, torch.from_numpy(dataset.cam_ids))
    gaps = [torch.dist(found[:400].mean(0), found[400:].mean(0)) for found in (unit, view.centered)]
    assert gaps[1] < 0.2 * gaps[0]


@pytest.mark.slow
def test_training_on_two_data_sets_and_evaluation_on_both(tmp_path):
    roots = [write_images(tmp_path / name) for name in ('first', 'second')]
    cfg = tiny_config(roots[0], tmp_path / 'work', train_cfg__val_interval=2)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        parts = [{**loader.dataset.to_dict(), 'data_root': str(root)} for root in roots]
        loader.dataset = ConfigDict(type='ConcatDataset', datasets=parts)
    runner = train(cfg)
    dataset = runner.train_dataloader.dataset
    single = Market1501(roots[0], check='off')
    assert len(dataset) == 2 * len(single)
    assert set(dataset.cam_ids[: len(single)]).isdisjoint(dataset.cam_ids[len(single) :])
    pseudo = hook_of(runner, PseudoLabelHook).pseudo
    assert len(pseudo.labels) == len(dataset)
    assert log(runner).count('2 data sets, identities and cameras kept apart:') == 2
    assert runner.message_hub.get_scalar('val/reid/mAP').current() > 0
