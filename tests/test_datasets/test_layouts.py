"""The layouts of the data sets."""

import os
import pickle
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from glc.datasets import MSMT17, LUPerson, Market1501

from ..utils import shared_data
from .layouts import write_image, write_market, write_msmt


def names(dataset):
    return [os.path.basename(dataset.get_data_info(index)['img_path']) for index in range(len(dataset))]


@pytest.mark.parametrize(
    ('name', 'pid', 'cam_id'),
    [
        ('0002_c1s1_000451_03.jpg', 2, 0),
        ('1501_c6s4_020051_02.jpg', 1501, 5),
        ('0000_c3s2_000001_00.jpg', 0, 2),
        ('-1_c5s1_024551_06.jpg', -1, 4),
        ('0001_c12s1_000451_03.jpg', 1, 11),
    ],
)
def test_market_names(name, pid, cam_id):
    assert Market1501.parse(name) == (pid, cam_id)


@pytest.mark.parametrize('name', ['cat.jpg', '2_c1s1_000451_03.jpg', '0002_s1_000451_03.jpg'])
def test_market_refuses_other_names(name):
    with pytest.raises(ValueError, match=name):
        Market1501.parse(name)


def test_market_drops_junk_and_keeps_distractors(tmp_path):
    root = write_market(tmp_path)
    dataset = Market1501(root, split='test', check='off')
    np.testing.assert_array_equal(dataset.pids, [1, 3, 0, 1, 3])
    np.testing.assert_array_equal(dataset.cam_ids, [0, 3, 5, 1, 4])
    assert dataset.metainfo['dataset_name'] == 'Market1501'
    assert names(Market1501(root, check='off')) == sorted(names(Market1501(root, check='off')))
    assert Market1501.count(dataset.scan('gallery')) == (3, 2, 3, 1, 1)


@pytest.mark.parametrize('missing', ['bounding_box_train', '.'])
def test_market_missing_folder(tmp_path, missing):
    root = tmp_path / 'market'
    if missing != '.':
        write_market(root)
        (root / missing).rename(tmp_path / 'away')
    with pytest.raises(FileNotFoundError) as caught:
        Market1501(root)
    message = str(caught.value)
    assert f'{root}/bounding_box_train' in message
    assert 'PPPP_cCsS_FFFFFF_DD.jpg' in message
    assert f'python tools/dataset_tools/verify_dataset.py Market1501 {root}' in message


@pytest.mark.slow
def test_market_real_archive():
    """The names in the archive of the development data; it has all of the training part."""
    import tarfile

    with tarfile.open(shared_data('market1501.tar.xz')) as archive:
        members = [member.name for member in archive if member.isfile()]
    for part in ('train', 'gallery'):
        folder = Market1501.folders[part]
        found = [Market1501.parse(os.path.basename(name)) for name in members if f'{folder}/' in name]
        if part == 'train':
            assert (len(found), len({pid for pid, _ in found})) == (12936, 751)
        else:
            assert {-1, 0} < {pid for pid, _ in found}
        assert {cam_id for _, cam_id in found} == set(range(6))


@pytest.mark.parametrize(
    ('version', 'folders'), [('V1', ('train', 'test')), ('V2', ('mask_train_v2', 'mask_test_v2'))]
)
def test_msmt_version_is_found_and_named(tmp_path, version, folders):
    root = write_msmt(tmp_path, *folders)
    train = MSMT17(root, check='off')
    assert train.metainfo['dataset_name'] == f'MSMT17_{version}'
    assert MSMT17.METAINFO['dataset_name'] == 'MSMT17'
    np.testing.assert_array_equal(train.pids, [0, 0, 1])
    np.testing.assert_array_equal(train.cam_ids, [0, 2, 14])
    test = MSMT17(root, split='test', check='off')
    np.testing.assert_array_equal(test.pids, [0, 0, 1])
    np.testing.assert_array_equal(test.cam_ids, [4, 13, 1])
    assert all(os.path.isfile(test.get_data_info(index)['img_path']) for index in range(3))


def test_msmt_two_versions_need_a_choice(tmp_path):
    root = write_msmt(write_msmt(tmp_path), 'mask_train_v2', 'mask_test_v2')
    with pytest.raises(ValueError, match='V1 and V2'):
        MSMT17(root, check='off')
    dataset = MSMT17(root, check='off', version='V2')
    assert dataset.metainfo['dataset_name'] == 'MSMT17_V2'
    assert 'mask_train_v2' in dataset.get_data_info(0)['img_path']
    with pytest.raises(ValueError, match='V3'):
        MSMT17(root, version='V3')


def test_msmt_listed_but_absent_images(tmp_path):
    root = write_msmt(tmp_path)
    (root / 'train/0000/0000_001_03_0303noon_0028_1.jpg').unlink()
    with pytest.raises(RuntimeError, match='2 of 32,621 images'):
        MSMT17(root)
    assert len(MSMT17(root, check='off')) == 2


@pytest.mark.parametrize('missing', ['list_val.txt', 'train', 'test', 'list_query.txt'])
def test_msmt_missing_file_or_folder(tmp_path, missing):
    root = write_msmt(tmp_path)
    (root / missing).rename(root / 'away')
    split = 'train' if missing in ('list_val.txt', 'train') else 'test'
    with pytest.raises(FileNotFoundError, match=missing):
        MSMT17(root, split=split, check='off')


@pytest.mark.parametrize('line', ['nonsense', '0000/0000_000.jpg 3', 'a_b_1_c.jpg three'])
def test_msmt_refuses_other_lines(line):
    with pytest.raises(ValueError, match=line):
        MSMT17.parse(line)


def test_luperson_keeps_a_list_that_follows_the_folder(tmp_path, monkeypatch):
    for name in ('b.jpg', 'a.jpg', 'c\u2028.jpg'):
        write_image(tmp_path / 'images' / name)
    assert names(LUPerson(tmp_path, check='off')) == ['a.jpg', 'b.jpg', 'c\u2028.jpg']

    with monkeypatch.context() as patch:
        patch.setattr(LUPerson, 'list_images', lambda *_: pytest.fail('the folder was listed again'))
        dataset = LUPerson(tmp_path, check='off')
    assert names(dataset) == ['a.jpg', 'b.jpg', 'c\u2028.jpg']
    np.testing.assert_array_equal(dataset.pids, [-1, -1, -1])
    np.testing.assert_array_equal(dataset.cam_ids, [-1, -1, -1])

    (tmp_path / 'images' / 'a.jpg').unlink()
    os.utime(tmp_path / 'images', ns=(1, 1))
    assert names(LUPerson(tmp_path, check='off')) == ['b.jpg', 'c\u2028.jpg']
    assert sorted(os.listdir(tmp_path)) == ['images', 'images.list']


def test_luperson_list_elsewhere_or_nowhere(tmp_path, monkeypatch):
    write_image(tmp_path / 'root' / 'images' / 'a.jpg')
    LUPerson(tmp_path / 'root', check='off', list_file=tmp_path / 'names')
    assert (tmp_path / 'names').exists()
    assert os.listdir(tmp_path / 'root') == ['images']
    logged = []
    monkeypatch.setattr('glc.datasets.luperson.print_log', lambda message, **_: logged.append(message))
    assert len(LUPerson(tmp_path / 'root', check='off', list_file=tmp_path / 'names' / 'names')) == 1
    assert 'not kept' in logged[0]


def test_luperson_entries_are_made_when_asked_for(tmp_path):
    for name in ('b.jpg', 'a.jpg', 'd.png', 'c.txt'):
        write_image(tmp_path / 'images' / name) if name != 'c.txt' else (tmp_path / 'images' / name).touch()
    for _ in range(2):  # listed, then read from the list
        dataset = LUPerson(tmp_path, check='off', unreadable='skip', pipeline=[dict(type='LoadReIDImage')])
        assert names(dataset) == ['a.jpg', 'b.jpg', 'd.png']
        assert dataset.get_data_info(-1)['sample_idx'] == 2
        assert dataset[1]['img'].ndim == 3
        assert names(dataset.get_subset([2, 0])) == ['d.png', 'a.jpg']
        assert names(LUPerson(tmp_path, check='off', indices=-2)) == ['b.jpg', 'd.png']
        assert names(pickle.loads(pickle.dumps(LUPerson(tmp_path, check='off')))) == names(dataset)
    with pytest.raises(IndexError):
        LUPerson(tmp_path, check='off').get_data_info(3)


class Leaves:
    """Pickles as a call that leaves a mark."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_luperson_takes_the_chosen_images_in_their_order(tmp_path):
    for name in ('a.jpg', 'b.jpg', 'c.jpg'):
        write_image(tmp_path / 'images' / name)
    (tmp_path / 'names.txt').write_text('c.jpg\na.jpg\nb.jpg\n')
    (tmp_path / 'names.pkl').write_bytes(pickle.dumps(['c.jpg', 'a.jpg', 'b.jpg']))
    for file in ('names.txt', 'names.pkl'):
        chosen = str(tmp_path / file)
        assert names(LUPerson(tmp_path, chosen=chosen)) == ['c.jpg', 'a.jpg', 'b.jpg']
        assert names(LUPerson(tmp_path, chosen=chosen, keep=2)) == ['c.jpg', 'a.jpg']
        with pytest.raises(ValueError, match='holds 3 names, fewer than keep=4'):
            LUPerson(tmp_path, chosen=chosen, keep=4)
    with pytest.raises(ValueError, match='keep=2 needs chosen'):
        LUPerson(tmp_path, keep=2)
    (tmp_path / 'images' / 'c.jpg').unlink()
    with pytest.raises(ValueError, match=r"names 'c\.jpg', which is not in"):
        LUPerson(tmp_path, chosen=chosen)


def test_luperson_list_runs_no_code(tmp_path):
    write_image(tmp_path / 'images' / 'a.jpg')
    chosen, mark = tmp_path / 'names.pkl', tmp_path / 'mark'
    for content, reason in ((Leaves(str(mark)), 'mkdir'), ({'a.jpg': 1}, 'a pickled dict')):
        chosen.write_bytes(pickle.dumps(content))
        with pytest.raises(ValueError, match=reason):
            LUPerson(tmp_path, chosen=str(chosen))
    assert not mark.exists()


class FakeLMDB:
    """Stands in for the package lmdb: a file of pickled images by name, and how often it was opened."""

    opened = 0

    def __init__(self, path, subdir=True, readonly=False, lock=True, readahead=True):
        assert readonly
        assert not lock
        FakeLMDB.opened += 1
        self.content = pickle.loads((Path(path, 'data.mdb') if subdir else Path(path)).read_bytes())

    def begin(self, write=False):
        assert not write
        return self

    cursor = __enter__ = lambda self: self

    def __exit__(self, *_):
        pass

    def close(self):
        pass

    def iternext(self, keys, values):
        assert keys
        assert not values
        return map(memoryview, sorted(self.content))

    def get(self, key):
        return self.content.get(key)


def test_luperson_in_an_lmdb(tmp_path, monkeypatch):
    write_image(tmp_path / 'a.jpg')
    image = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'LUP').mkdir()
    (tmp_path / 'LUP' / 'data.mdb').write_bytes(
        pickle.dumps({b'b.jpg': image, b'a.jpg': image, b'meta': b''})
    )

    monkeypatch.setattr('glc.datasets.luperson.find_spec', lambda _: None)
    with pytest.raises(ImportError, match='pip install lmdb'):
        LUPerson(tmp_path, check='off', lmdb='LUP')

    monkeypatch.setattr('glc.datasets.luperson.find_spec', lambda _: True)
    monkeypatch.setitem(sys.modules, 'lmdb', types.SimpleNamespace(open=FakeLMDB))
    with pytest.raises(FileNotFoundError, match='absent'):
        LUPerson(tmp_path, check='off', lmdb='absent')
    for opened in (1, 1):  # the keys are listed once
        dataset = LUPerson(tmp_path, check='off', lmdb='LUP', pipeline=[dict(type='LoadReIDImage')])
        assert names(dataset) == ['a.jpg', 'b.jpg']
        assert FakeLMDB.opened == opened
    loaded = dataset[1]
    np.testing.assert_array_equal(loaded['img'], cv2.imread(str(tmp_path / 'a.jpg')))
    assert loaded['img_path'] == 'b.jpg'
    assert (tmp_path / 'LUP.list').read_bytes().endswith(b'\na.jpg\nb.jpg\n')


def test_luperson_has_only_a_training_part(tmp_path):
    write_image(tmp_path / 'images' / 'a.jpg')
    with pytest.raises(ValueError, match='test'):
        LUPerson(tmp_path, split='test')
    with pytest.raises(RuntimeError, match='1 of 4,180,243 images'):
        LUPerson(tmp_path)
    with pytest.raises(FileNotFoundError, match='absent/images'):
        LUPerson(tmp_path / 'absent')
