"""A gallery: exact, on disk, of one network, and whole whatever happens."""

import json

import numpy as np
import pytest

from glc.apis import Gallery, ReIDFeatures
from glc.core.neighbors import search


def some(count, seed=0, start=0, network='n', dim=16):
    features = np.random.default_rng(seed).normal(size=(count, dim))
    names = [f'{number}.jpg' for number in range(start, start + count)]
    return ReIDFeatures(features, names, np.arange(count), np.arange(count) % 2, network)


def test_search_is_exact_in_blocks_and_parts(monkeypatch):
    monkeypatch.setattr(search, '_FEWEST_ROWS', 7)
    monkeypatch.setattr(search, '_BLOCK_SIMILARITIES', 7)
    gallery = Gallery.of(some(50))
    gallery.add(some(30, 1, start=50))
    query = some(9, 2)
    everything = np.concatenate([some(50).features, some(30, 1).features])
    cosine = query.features @ (everything / np.linalg.norm(everything, axis=1, keepdims=True)).T
    cosine /= np.linalg.norm(query.features, axis=1, keepdims=True)
    order = np.argsort(-cosine, axis=1)[:, :12]
    found = gallery.search(query, topk=12)
    np.testing.assert_array_equal(found.rows, order)
    np.testing.assert_allclose(found.scores, np.take_along_axis(cosine, order, 1), atol=1e-6)
    assert found.names[3] == [f'{row}.jpg' for row in order[3]]
    assert gallery.search(query, topk=1000).scores.shape == (9, 80)


def test_a_saved_gallery_stays_on_the_disk_and_changes_like_another(tmp_path):
    gallery = Gallery.of(some(20))
    gallery.save(tmp_path / 'people')
    loaded = Gallery.load(tmp_path / 'people')
    assert isinstance(loaded._parts[0], np.memmap)
    for one in (gallery, loaded):
        one.add(some(5, 1, start=20))
        one.remove(['3.jpg', '22.jpg'])
    loaded.save(tmp_path / 'people')
    again = Gallery.load(tmp_path / 'people')
    for one in (loaded, again):
        assert one.names == gallery.names
        assert (one.network, one.dim, len(one)) == ('n', 16, 23)
        np.testing.assert_array_equal(one.pids, gallery.pids)
        np.testing.assert_array_equal(one.cam_ids, gallery.cam_ids)
        np.testing.assert_array_equal(np.concatenate(one._parts), np.concatenate(gallery._parts))
    assert '3.jpg' not in again
    assert len(list((tmp_path / 'people').iterdir())) == 2


def test_what_a_failed_save_leaves_is_the_gallery_before(tmp_path, monkeypatch):
    gallery = Gallery.of(some(20))
    gallery.save(tmp_path)
    gallery.remove('0.jpg')
    monkeypatch.setattr(json, 'dumps', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gallery.save(tmp_path)
    assert len(Gallery.load(tmp_path)) == 20


def test_an_empty_gallery(tmp_path):
    gallery = Gallery()
    gallery.save(tmp_path)
    loaded = Gallery.load(tmp_path)
    with pytest.raises(ValueError, match='the gallery is empty'):
        loaded.search(np.eye(3))
    loaded.add(some(2))
    loaded.remove(['0.jpg', '1.jpg'])
    loaded.add(some(2, network='other', dim=8))
    assert (len(loaded), loaded.dim, loaded.network) == (2, 8, 'other')


def test_names_come_once():
    gallery = Gallery.of(some(3))
    with pytest.raises(ValueError, match=r'1 names are in the gallery already or come twice \(2\.jpg\)'):
        gallery.add(some(3, start=2))
    with pytest.raises(ValueError, match=r'come twice \(a\)'):
        gallery.add(ReIDFeatures(np.eye(2, 16), ['a', 'a'], network='n'))
    with pytest.raises(KeyError, match=r'1 names are not in the gallery \(9\.jpg\)'):
        gallery.remove(['1.jpg', '9.jpg'])
    assert gallery.names == ['0.jpg', '1.jpg', '2.jpg']


@pytest.mark.parametrize(
    'other', [some(2, start=9, network='m'), some(2, start=9, network=''), some(2, start=9, dim=8)]
)
def test_features_of_another_network_are_refused(other):
    gallery = Gallery.of(some(3))
    for use in (gallery.add, gallery.search):
        with pytest.raises(ValueError, match='features of different networks cannot be compared'):
            use(other)
    assert len(gallery) == 3


def test_damaged_galleries(tmp_path):
    with pytest.raises(FileNotFoundError, match='holds no gallery'):
        Gallery.load(tmp_path)
    Gallery.of(some(20)).save(tmp_path / 'a')
    Gallery.of(some(10)).save(tmp_path / 'b')
    index = json.loads((tmp_path / 'a/gallery.json').read_text())
    for change, message in (
        ({'version': 2}, 'it has version 2'),
        ({'names': index['names'][:5]}, 'cannot be read'),
        ({'features': 'features-0.npy'}, 'cannot be read'),
    ):
        (tmp_path / 'a/gallery.json').write_text(json.dumps(index | change))
        with pytest.raises(ValueError, match=message):
            Gallery.load(tmp_path / 'a')
    (tmp_path / 'a/gallery.json').write_text(
        json.dumps({key: index[key] for key in index if key != 'network'})
    )
    with pytest.raises(ValueError, match="cannot be read: KeyError\\('network'\\)"):
        Gallery.load(tmp_path / 'a')
    (features,) = (tmp_path / 'b').glob('*.npy')
    (tmp_path / 'a/gallery.json').write_text(json.dumps(index))
    (tmp_path / 'a' / index['features']).write_bytes(features.read_bytes())
    with pytest.raises(ValueError, match=r'float32 \(10, 16\) for 20 names'):
        Gallery.load(tmp_path / 'a')


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / 'features-mine.npy').touch()
    with pytest.raises(FileExistsError, match='is not empty and holds no gallery'):
        Gallery.of(some(2)).save(tmp_path)


def test_features_of_a_file(tmp_path):
    features = ReIDFeatures(np.eye(2), ['ä/1.jpg', 'b.jpg'], [3, -1], None, 'abc')
    loaded = ReIDFeatures.load(features.save(tmp_path / 'new' / 'x'))
    assert (loaded.names, loaded.network, loaded.pids.tolist()) == (features.names, 'abc', [3, -1])
    np.testing.assert_array_equal(loaded.features, features.features)
    np.savez(tmp_path / 'bad.npz', features=np.eye(2))
    with pytest.raises(ValueError, match=r"bad\.npz' holds no features with names: it lacks path"):
        ReIDFeatures.load(tmp_path / 'bad.npz')
    np.savez(tmp_path / 'pickle.npz', features=np.eye(2), path=np.array(['a', None], object))
    with pytest.raises(ValueError, match='holds no features with names'):
        ReIDFeatures.load(tmp_path / 'pickle.npz')
    whole = (tmp_path / 'new/x.npz').read_bytes()
    for content in (b'', b'junk', whole[:100]):
        (tmp_path / 'damaged.npz').write_bytes(content)
        with pytest.raises(ValueError, match=r"damaged\.npz' holds no features with names"):
            ReIDFeatures.load(tmp_path / 'damaged.npz')
    with pytest.raises(ValueError, match=r'features must be \(N, D\) for 1 names'):
        ReIDFeatures(np.eye(2), ['a'])
