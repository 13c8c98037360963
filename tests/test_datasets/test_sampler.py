from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glc.core.labels import PseudoLabels
from glc.datasets.samplers import PseudoIdentitySampler, pseudo_identity_sampler


def pseudo_labels(labels: np.ndarray) -> PseudoLabels:
    features = torch.randn(len(labels), 4, generator=torch.Generator().manual_seed(0))
    return PseudoLabels.from_features(features, torch.from_numpy(labels))


def make(labels, cams, rank=0, world_size=1, **kwargs) -> PseudoIdentitySampler:
    settings = {'num_ids': 4, 'num_instances': 4, 'iterations': 6, 'seed': 1, **kwargs}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pseudo_identity_sampler, 'get_dist_info', lambda: (rank, world_size))
        sampler = PseudoIdentitySampler(SimpleNamespace(cam_ids=np.asarray(cams)), **settings)
    sampler.assign_pseudo_labels(pseudo_labels(np.asarray(labels)))
    return sampler


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(2, 12), st.integers(1, 3), st.booleans())
def test_batches_follow_the_rules(seed, num_clusters, num_cams, outliers):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(num_clusters), rng.integers(1, 7, num_clusters)))
    if outliers:
        labels = np.append(labels, [-1, -1])
    cams = rng.integers(num_cams, size=len(labels))
    sampler = make(labels, cams, seed=seed)
    draws = list(sampler)
    assert len(draws) == len(sampler) == 6 * 16
    for start in range(0, len(draws), 16):
        groups = np.array([draw.index for draw in draws[start : start + 16]]).reshape(4, 4)
        group_labels = labels[groups]
        assert (group_labels >= 0).all()
        assert (group_labels == group_labels[:, :1]).all(), 'K images of one cluster stand together'
        if num_clusters >= 4:
            assert len(set(group_labels[:, 0])) == 4, 'no cluster twice in a batch'
        for group in groups:
            members = np.flatnonzero(labels == labels[group[0]])
            other_cams = members[cams[members] != cams[group[0]]]
            if len(other_cams):
                assert (cams[group[1:]] != cams[group[0]]).all()
            if len(other_cams) >= 3 or (not len(other_cams) and len(members) >= 4):
                assert len(set(group)) == 4, 'no image twice where there are enough'


def test_an_unknown_camera_is_never_the_same_camera():
    labels = np.repeat(np.arange(4), 6)
    cams = np.tile([0, 0, 0, -1, -1, 1], 4)
    seen = set()
    for start, draws in ((s, list(make(labels, cams, seed=s))) for s in range(5)):
        for group in np.array([draw.index for draw in draws]).reshape(-1, 4):
            anchor, others = group[0], group[1:]
            assert anchor not in others
            assert ((cams[others] != cams[anchor]) | (cams[others] < 0)).all(), start
            seen |= {(cams[anchor], cams[other]) for other in others}
    assert seen == {(0, -1), (0, 1), (1, 0), (1, -1), (-1, 0), (-1, 1), (-1, -1)}
    unknown, one = (list(make(labels, np.full(24, camera))) for camera in (-1, 3))
    assert unknown == one


def test_without_cameras_the_images_of_a_cluster_come_from_anywhere():
    labels, cams = np.repeat(np.arange(6), 5), np.tile([0, 0, 0, 1, 1], 6)
    plain = make(labels, cams, use_cameras=False)
    assert list(plain) == list(make(labels, np.zeros(30, int)))
    groups = cams[np.array([draw.index for draw in plain])].reshape(-1, 4)
    assert (groups[:, 1:] == groups[:, :1]).any()


@pytest.mark.parametrize('num_clusters', [2, 4, 7, 9, 13])
def test_without_iterations_an_epoch_is_one_pass_over_the_clusters(num_clusters):
    labels = np.append(np.repeat(np.arange(num_clusters), 5), [-1] * 7)
    sampler = make(labels, np.zeros(len(labels)), iterations=None)
    batches = max(1, num_clusters // 4)
    drawn = labels[np.array([draw.index for draw in sampler])].reshape(-1, 4)
    assert len(sampler) == drawn.size == batches * 16
    assert (drawn == drawn[:, :1]).all()
    assert len(set(drawn[:, 0])) == min(4 * batches, num_clusters)
    halves = [list(make(labels, np.zeros(len(labels)), rank, 2, iterations=None)) for rank in range(2)]
    assert halves[0][:8] + halves[1][:8] == list(sampler)[:16]


def test_before_there_are_labels_an_epoch_has_as_many_batches_as_the_images_fill():
    assert len(PseudoIdentitySampler(SimpleNamespace(cam_ids=np.zeros(70)), 4, 4, None)) == 4 * 16
    assert len(PseudoIdentitySampler(SimpleNamespace(cam_ids=np.zeros(3)), 4, 4, None)) == 16


@pytest.mark.parametrize(('num_outliers', 'different'), [(9, True), (3, False)])
def test_outlier_groups_end_every_batch(num_outliers, different):
    labels = np.append(np.repeat(np.arange(6), 5), [-1] * num_outliers)
    plain = make(labels, np.zeros(len(labels)))
    sampler = make(labels, np.zeros(len(labels)), outlier_groups=2)
    groups, expected = (
        labels[np.array([draw.index for draw in source])].reshape(6, 4, 4) for source in (sampler, plain)
    )
    assert (groups[:, 2:] == -1).all()
    np.testing.assert_array_equal(groups[:, :2], expected[:, :2])
    drawn = np.array([draw.index for draw in sampler]).reshape(6, 16)[:, 8:]
    assert all((len(set(batch)) == 8) == different for batch in drawn)
    halves = [list(make(labels, np.zeros(len(labels)), rank, 2, outlier_groups=2)) for rank in range(2)]
    whole = list(sampler)
    assert halves[0][:8] + halves[1][:8] == whole[:16]


def test_outlier_groups_without_outliers_are_clusters():
    labels = np.repeat(np.arange(6), 5)
    assert list(make(labels, np.zeros(30), outlier_groups=2)) == list(make(labels, np.zeros(30)))
    with pytest.raises(ValueError, match='outlier_groups must be from 0 to num_ids - 1 = 3'):
        make(labels, np.zeros(30), outlier_groups=4)


def test_every_cluster_is_drawn_about_equally_often():
    labels = np.repeat(np.arange(10), 5)
    sampler = make(labels, np.zeros(50), iterations=500)
    drawn = labels[[draw.index for draw in sampler]][::4]
    assert np.bincount(drawn).min() > 150  # 200 expected of each


def test_processes_share_the_global_batches():
    labels, cams = np.repeat(np.arange(9), 6), np.arange(54) % 3
    single = np.array(list(make(labels, cams))).reshape(6, 16, 2)
    parts = [np.array(list(make(labels, cams, rank, 2))).reshape(6, 8, 2) for rank in (0, 1)]
    assert np.array_equal(single, np.concatenate(parts, axis=1))


def test_epochs_differ_and_repeat():
    sampler = make(np.repeat(np.arange(9), 6), np.zeros(54))
    first = list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    sampler.set_epoch(0)
    assert list(sampler) == first != second


def test_the_seed_decides_the_stream():
    labels, cams = np.repeat(np.arange(9), 6), np.arange(54) % 3
    first, again, other = (list(make(labels, cams, seed=seed)) for seed in (1, 1, 2))
    assert first == again != other


def test_every_image_comes_first_in_some_group():
    labels, cams = np.repeat(np.arange(4), 5), np.zeros(20)
    groups = np.array([draw.index for draw in make(labels, cams, iterations=60)]).reshape(-1, 4)
    assert set(groups[:, 0]) == set(range(20))


def test_every_draw_has_its_own_augmentation():
    sampler = make(np.repeat(np.arange(9), 6), np.arange(54) % 3)
    seeds = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        draws = list(sampler)
        assert len({draw.index for draw in draws}) < len(draws)  # an image comes more than once
        seeds += [draw.seed for draw in draws]
    assert len(set(seeds)) == len(seeds) == 3 * 96
    assert 0 <= min(seeds) < 2**30 < 2**31 < max(seeds) < 2**32


def test_few_clusters_fill_the_batch():
    sampler = make([0, 0, 1, -1], [0, 1, 0, 0])
    labels = np.array([0, 0, 1, -1])
    drawn = labels[[draw.index for draw in sampler]].reshape(-1, 4)
    assert (drawn == drawn[:, :1]).all()
    assert set(drawn.ravel()) == {0, 1}
    assert len(drawn) == 24


def test_bad_input():
    with pytest.raises(ValueError, match='divides num_ids'):
        make([0, 0, 1, 1], [0] * 4, world_size=3)
    with pytest.raises(ValueError, match="'iterations' parameter of PseudoIdentitySampler"):
        make([0, 0, 1, 1], [0] * 4, iterations=0)
    with pytest.raises(ValueError, match='4 pseudo labels for a data set of 5'):
        make([0, 0, 1, 1], [0] * 5)
    with pytest.raises(RuntimeError, match='assign_pseudo_labels'):
        iter(PseudoIdentitySampler(SimpleNamespace(cam_ids=np.zeros(3))))


@pytest.mark.parametrize(
    'labels',
    [
        torch.tensor([0.0, 0.0, 1.0, 1.0]),
        torch.tensor([0.0, 0.0, 1.0, float('nan')]),
        torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float16),
        np.array([0.5, 0, 1, 1]),
        torch.zeros(4, dtype=torch.complex64),
        torch.zeros(4, 1, dtype=torch.int64),
        [0, 0, 1, 1.5],
    ],
)
def test_labels_that_are_no_integers_are_refused(labels):
    sampler = make([0, 0, 1, 1], [0] * 4)
    before = list(sampler)
    with pytest.raises(ValueError, match=r'labels must be an .* array of integers, got torch'):
        sampler.assign_labels(labels)
    assert list(sampler) == before


@pytest.mark.parametrize('kind', [torch.int32, torch.uint8, torch.int64])
def test_integers_of_every_kind_are_labels(kind):
    sampler = make([0, 0, 1, 1], [0] * 4)
    before = list(sampler)
    sampler.assign_labels(torch.tensor([0, 0, 1, 1], dtype=kind))
    assert list(sampler) == before
