"""The usual data sets by name, on miniatures in their published layouts; and messages about layouts that differ."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from scipy.io import loadmat, savemat

from glc.datasets import CUHK03, MSMT17, DukeMTMCreID, Market1501, OccludedDuke, PersonX, VeRi776, pipeline_of
from glc.registry import DATASETS, PSEUDO_LABELERS

from .layouts import (
    MARKET_LIKE,
    write_cuhk03,
    write_cuhk03_np,
    write_image,
    write_market,
    write_market_like,
    write_msmt,
)

BASES = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets'
WRITERS = {
    'dukemtmc': lambda root: write_market_like(root, 'DukeMTMCreID'),
    'occluded_duke': lambda root: write_market_like(root, 'OccludedDuke'),
    'veri776': lambda root: write_market_like(root, 'VeRi776'),
    'personx': lambda root: write_market_like(root, 'PersonX'),
    'cuhk03': write_cuhk03,
    'market1501': write_market,
    'msmt17': write_msmt,
}
ROOTS = {  # what lacks which folder
    Market1501: 'bounding_box_train',
    DukeMTMCreID: 'bounding_box_train',
    OccludedDuke: 'bounding_box_train',
    VeRi776: 'image_train',
    PersonX: 'bounding_box_train',
    CUHK03: 'detected',
    MSMT17: 'mask_train_v2',
}


def files(dataset):
    return [
        os.path.relpath(dataset.get_data_info(i)['img_path'], dataset.data_root) for i in range(len(dataset))
    ]


@pytest.mark.parametrize(
    ('kind', 'train', 'test'),
    [
        (DukeMTMCreID, [(1, 7), (5, 1)], [(2, 0), (2, 1), (7141, 5)]),
        (OccludedDuke, [(1, 7), (5, 1)], [(2, 0), (2, 1), (7141, 5)]),
        (VeRi776, [(1, 7), (5, 1)], [(2, 0), (2, 1), (776, 19)]),
        (PersonX, [(1, 11), (5, 2)], [(2, 3), (2, 7), (856, 10)]),
        (MSMT17, [(0, 0), (1, 14)], [(3, 1), (3, 13), (4, 0)]),
    ],
)
def test_market_like_sets(tmp_path, kind, train, test):
    root = write_market_like(tmp_path, kind.__name__)
    for split, expected in (('train', train), ('test', test)):
        dataset = kind(root, split=split, check='off')
        assert list(zip(dataset.pids.tolist(), dataset.cam_ids.tolist(), strict=True)) == expected
        assert all(Path(dataset.get_data_info(i)['img_path']).is_file() for i in range(len(dataset)))
        assert [dataset.get_data_info(i)['is_query'] for i in range(len(dataset))] == (
            [False, False] if split == 'train' else [True, False, False]
        )


@pytest.mark.parametrize(
    ('kind', 'published'),
    [
        (DukeMTMCreID, {'train': (16522, 702, 8), 'query': (2228, 702, 8), 'gallery': (17661, 1110, 8)}),
        (OccludedDuke, {'train': (15618, 702, 8), 'query': (2210, 519, 8), 'gallery': (17661, 1110, 8)}),
        (VeRi776, {'train': (37778, 576, 20), 'query': (1678, 200, None), 'gallery': (11579, 200, None)}),
        (PersonX, {'train': (9840, 410, 6), 'query': (5136, 856, 6), 'gallery': (30816, 856, 6)}),
        (MSMT17, {'train': (32621, 1041, 15), 'query': (11659, 3060, 15), 'gallery': (82161, 3060, 15)}),
    ],
)
def test_published_counts_are_checked(tmp_path, kind, published):
    root = write_market_like(tmp_path, kind.__name__)
    dataset = kind(root, lazy_init=True)
    assert {part: dataset.expected_counts(part)[:3] for part in dataset.parts} == published
    with pytest.raises(RuntimeError, match=f'2 of {published["train"][0]:,} images') as caught:
        dataset.full_init()
    assert str(root) in str(caught.value)
    with pytest.raises(RuntimeError, match=f'query: 1 of {published["query"][0]:,} images') as caught:
        kind(root, split='test')
    assert 'None' not in str(caught.value)


def test_a_number_of_cameras_that_nobody_has_published_is_not_checked():
    found = VeRi776.published_counts['query']._replace(cams=19)
    dataset = VeRi776('data', lazy_init=True)
    assert dataset.is_complete('query', found)
    assert not dataset.is_complete('query', found._replace(ids=199))
    assert not dataset.is_complete('train', VeRi776.published_counts['train']._replace(cams=19))


@pytest.mark.parametrize(
    ('kind', 'name'),
    [
        (Market1501, '0002_c0s1_000451_03.jpg'),
        (DukeMTMCreID, '0005_c0_f0046985.jpg'),
        (DukeMTMCreID, '0002_c1s1_000451_03.jpg'),
        (VeRi776, '0001_c000_00016450_0.jpg'),
        (VeRi776, '0001_c1s1_000451_03.jpg'),
        (PersonX, 'person.jpg'),
        (MSMT17, '0000_000_01_0303morning_0008_0.jpg'),
    ],
)
def test_other_names_are_refused_with_their_folder(tmp_path, kind, name):
    folder = tmp_path / getattr(kind, 'folders', {}).get('train', 'bounding_box_train')
    write_image(folder / name)
    with pytest.raises(ValueError, match=name) as caught:
        kind(tmp_path, check='off')
    assert str(folder) in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('boxes', ['detected', 'labeled'])
@pytest.mark.parametrize('write', [write_cuhk03, write_cuhk03_np])
def test_cuhk03(tmp_path, write, boxes):
    write(tmp_path, boxes)
    train = CUHK03(tmp_path, check='off', boxes=boxes)
    np.testing.assert_array_equal(train.pids, [1, 2])
    np.testing.assert_array_equal(train.cam_ids, [1, 0])
    test = CUHK03(tmp_path, split='test', check='off', boxes=boxes)
    np.testing.assert_array_equal(test.pids, [3, 3, 5])
    np.testing.assert_array_equal(test.cam_ids, [0, 1, 0])
    assert all(Path(test.get_data_info(i)['img_path']).is_file() for i in range(3))
    assert boxes in test.metainfo['dataset_name']
    counts = {part: test.expected_counts(part)[:3] for part in test.parts}
    images = (7365, 5332) if boxes == 'detected' else (7368, 5328)
    assert counts == {'train': (images[0], 767, 2), 'query': (1400, 700, 2), 'gallery': (images[1], 700, 2)}
    with pytest.raises(RuntimeError, match=f'2 of {images[0]:,} images'):
        CUHK03(tmp_path, boxes=boxes)


def test_cuhk03_boxes_are_chosen(tmp_path):
    with pytest.raises(ValueError, match=r'drawn.*detected, labeled'):
        CUHK03(tmp_path, boxes='drawn')
    with pytest.raises(FileNotFoundError, match=r'config_detected\.mat'):
        CUHK03(write_cuhk03(tmp_path, 'labeled'))


def test_cuhk03_listed_images(tmp_path):
    root = write_cuhk03(tmp_path)
    (root / 'images_detected/1_001_2_06.png').unlink()
    assert files(CUHK03(root, check='off')) == ['images_detected/1_002_1_01.png']
    for image in (root / 'images_detected').iterdir():
        image.rename(image.with_suffix('.jpg'))
    with pytest.raises(ValueError, match=r"lists '1_002_1_01\.png', the folder holds '1_002_1_01\.jpg'"):
        CUHK03(root, check='off')


@pytest.mark.slow
@pytest.mark.parametrize('damage', ['empty', 'text', 'no labels', 'index 0', 'index 6'])
def test_cuhk03_damaged_protocol_is_named(tmp_path, damage):
    path = write_cuhk03(tmp_path) / 'cuhk03_new_protocol_config_detected.mat'
    content = {key: value for key, value in loadmat(path).items() if not key.startswith('__')}
    if damage == 'no labels':
        del content['labels']
    elif damage.startswith('index'):
        content['train_idx'] = np.array([[int(damage[-1])]])
    savemat(path, content)
    if damage in ('empty', 'text'):
        path.write_bytes(b'' if damage == 'empty' else b'no data' * 100)
    with pytest.raises(ValueError, match='not the file of the new protocol') as caught:
        CUHK03(tmp_path, check='off')
    assert str(path) in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('base', WRITERS)
def test_base_config_reads_its_data_set_at_its_size(tmp_path, base):
    WRITERS[base](tmp_path)
    cfg = Config.fromfile(BASES / f'{base}.py')
    size = (224, 224) if base == 'veri776' else (256, 128)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build({**loader.dataset, 'data_root': str(tmp_path), 'check': 'off'})
        assert dataset[0]['inputs'].shape[1:] == size
    assert dataset.split == 'test'


@pytest.mark.parametrize('depth', ['one', 'one/two'])
@pytest.mark.parametrize(
    ('kind', 'folder'), [*ROOTS.items(), (MSMT17, 'train'), (MSMT17, 'bounding_box_train')]
)
def test_data_set_at_another_depth_is_found(tmp_path, kind, folder, depth):
    root = tmp_path / 'root'
    (root / depth / folder).mkdir(parents=True)
    (root / '__MACOSX' / folder).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=f"'{root / depth}': set data_root") as caught:
        kind(root, check='off')
    assert caught.match(f"'{root}/[^']*' does not exist")
    with pytest.raises(FileNotFoundError, match=f"'{root / depth}': set data_root"):
        kind(root / depth / folder, check='off')  # a folder of the data set instead of its root


def test_renamed_root_is_found_beside(tmp_path):
    (tmp_path / 'Market-1501-v15.09.15' / 'bounding_box_train').mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"in '\S+/Market-1501-v15\.09\.15'"):
        Market1501(tmp_path / 'market1501')


@pytest.mark.parametrize('start', ['tools', 'tools/deep', 'elsewhere'])
def test_start_from_another_directory(tmp_path, monkeypatch, start):
    (tmp_path / 'project/data/market1501/query').mkdir(parents=True)
    here = tmp_path / ('elsewhere' if start == 'elsewhere' else f'project/{start}')
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    with pytest.raises(FileNotFoundError) as caught:
        Market1501('data/market1501', split='query')
    message = str(caught.value)
    assert f"'{here}/data/market1501/query' (from the current directory '{here}')" in message
    assert (f"in '{tmp_path}/project/data/market1501'" in message) == (start != 'elsewhere')


def test_incomplete_data_set_says_where_it_was_looked_for(tmp_path, monkeypatch):
    write_market(tmp_path / 'my data')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError) as caught:
        Market1501('my data')
    assert f"'{tmp_path}/my data' (from the current directory '{tmp_path}')" in str(caught.value)
    assert "verify_dataset.py Market1501 'my data'" in str(caught.value)


def lines_of(monkeypatch):
    logged = []
    monkeypatch.setattr('glc.datasets.msmt17.print_log', lambda message, **_: logged.append(message))
    return logged


@pytest.mark.parametrize(
    ('version', 'folders'), [('V1', ('train', 'test')), ('V2', ('mask_train_v2', 'mask_test_v2'))]
)
def test_msmt_version_and_folders_are_in_the_log(tmp_path, monkeypatch, version, folders):
    logged = lines_of(monkeypatch)
    root = write_msmt(tmp_path, *folders)
    MSMT17(root, check='off')
    assert len(logged) == 1
    for text in (f'MSMT17_{version}', "'train'", '3 images', ', '.join(folders), str(root)):
        assert text in logged[0]


@pytest.mark.parametrize('version', [None, 'V1', 'V2'])
def test_msmt_in_the_layout_of_market_does_not_tell_its_version(tmp_path, monkeypatch, version):
    logged = lines_of(monkeypatch)
    dataset = MSMT17(write_market_like(tmp_path, 'MSMT17'), check='off', version=version)
    assert dataset.metainfo['dataset_name'] == (f'MSMT17_{version}' if version else 'MSMT17')
    assert ('does not tell V1 from V2' in logged[0]) == (version is None)
    assert set(MARKET_LIKE['MSMT17']) <= set(logged[0].replace(',', ' ').split())


@pytest.mark.parametrize('prefix', ['train/', 'MSMT17_V1/train/', 'D:\\MSMT17\\'])
def test_msmt_lists_that_do_not_fit_the_folder(tmp_path, prefix):
    root = write_msmt(tmp_path)
    for name in ('list_train.txt', 'list_val.txt'):
        lines = (root / name).read_text().splitlines()
        (root / name).write_text(''.join(f'{prefix}{line}\n' for line in lines))
    with pytest.raises(ValueError, match=r'no path of list_train\.txt and list_val\.txt is below') as caught:
        MSMT17(root, check='off')
    for text in (f'{root}/train', f"'{prefix}0001/0001_000_15_0303morning_0008_0.jpg'", "'0000/0000_"):
        assert text in str(caught.value)


@pytest.mark.parametrize(
    ('name', 'added', 'split', 'said'),
    [
        ('list_train.txt', '0000/0000_000_01_0303morning_0008_0.jpg 0', 'train', 'line 3.*after line 2'),
        ('list_train.txt', './0000/0000_000_01_0303morning_0008_0.jpg 5', 'train', 'line 3.*after line 2'),
        ('list_val.txt', '0000/0000_000_01_0303morning_0008_0.jpg 0', 'train', 'list_val.*after.*list_train'),
        ('list_query.txt', '0001/0001_000_02_0303morning_0008_0.jpg 1', 'test', 'list_gallery.*after.*query'),
        ('list_gallery.txt', '0000/0000_000_05_0303morning_0008_0.jpg 0', 'test', 'list_gallery.*query'),
        ('list_train.txt', '0001/0001_000_00_0303morning_0008_0.jpg 1', 'train', 'camera 0.*line 3 of'),
        ('list_val.txt', '0001/0001_000_02_0303morning_0009_0.jpg -1', 'train', 'identity -1.*line 2 of'),
        ('list_val.txt', '0001/0001_000_02_0303morning_0009_0.jpg', 'train', 'not a line.*line 2 of'),
    ],
)
def test_msmt_lines_that_cannot_be(tmp_path, name, added, split, said):
    root = write_msmt(tmp_path)
    with (root / name).open('a') as file:
        file.write(f'{added}\n')
    with pytest.raises(ValueError, match=said) as caught:
        MSMT17(root, split=split, check='off')
    assert str(root / name) in str(caught.value)


def test_msmt_lists_may_come_from_elsewhere(tmp_path):
    root = write_msmt(tmp_path)
    for name in ('list_train.txt', 'list_val.txt'):
        text = (root / name).read_text()
        (root / name).write_bytes(b'\xef\xbb\xbf' + text.replace('\n', '\r\n\r\n').encode())
    assert len(MSMT17(root, check='off')) == 3


def test_leaves_of_the_documentation(tmp_path):
    """The configs in docs/datasets.md load, and their data sets are read."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/_base_').symlink_to(BASES.parent)
    blocks = re.findall(
        r'^```python\n# (\S+\.py)\n(.*?)^```$',
        (BASES.parents[2] / 'docs/datasets.md').read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert [name for name, _ in blocks] == ['configs/veri_usl.py', 'configs/market_msmt_usl.py']
    for name, block in blocks:
        (tmp_path / name).write_text(block)
    veri, both = (Config.fromfile(tmp_path / name) for name, _ in blocks)
    for cfg in (veri, both):
        assert cfg.model.bn_group_size == 64
        assert PSEUDO_LABELERS.build(cfg.default_hooks.pseudo_label.labeler)
        assert cfg.train_cfg.max_epochs == 50
    write_market_like(tmp_path / 'veri', 'VeRi776')
    dataset = DATASETS.build(
        {**veri.train_dataloader.dataset, 'data_root': str(tmp_path / 'veri'), 'check': 'off'}
    )
    assert dataset[0]['inputs'].shape == (3, 224, 224)
    write_market(tmp_path / 'market')
    write_msmt(tmp_path / 'msmt')
    both.merge_from_dict(
        {
            'train_dataloader.dataset.datasets.0.data_root': str(tmp_path / 'market'),
            'train_dataloader.dataset.datasets.1.data_root': str(tmp_path / 'msmt'),
            'train_dataloader.dataset.check': 'off',
        }
    )
    joined = DATASETS.build(both.train_dataloader.dataset)
    assert joined.metainfo['dataset_name'] == 'Market1501 + MSMT17_V1'
    assert {tuple(joined[index]['inputs'].shape) for index in range(6)} == {(3, 256, 128)}
    assert pipeline_of(both.test_dataloader.dataset)[1]['scale'] == (128, 256)


def test_counts_in_the_documentation_are_those_that_are_checked():
    table = (BASES.parents[2] / 'docs/datasets.md').read_text().partition('## A data set')[0]
    for kind in ROOTS:
        (row,) = (line for line in table.splitlines() if line.startswith(f'| `{kind.__name__}`'))
        dataset = kind('data', lazy_init=True)
        train, query, gallery = (dataset.expected_counts(part) for part in dataset.parts)
        counts = ', '.join(f'{part.images:,} ({part.ids:,})' for part in (train, query, gallery))
        assert f'{counts}, {train.cams}' in row
        assert any(f'`{path.name}`' in row for path in BASES.glob('*.py'))
