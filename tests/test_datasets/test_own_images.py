"""Preparing and checking a folder of one's own."""

import csv
import os
import re
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from glc.cli import check_images, prepare_images
from glc.datasets import ImageFolderReID
from glc.datasets.inspection import inspect_images, near_duplicates
from glc.datasets.own_images import PREPARED_PATTERN, read_named_images, split_images, write_split

PATTERN = r'(?:(?P<pid>[^/_]+)_(?P<cam>[^/_]+)_)?[^/]+$'


def crop(path: Path, seed: int, size: tuple[int, int] = (32, 64), noise: float = 0) -> Path:
    """A picture of coarse random patches; the same seed gives the same one but for the noise."""
    patches = np.random.default_rng(seed).integers(0, 256, (8, 8, 3))
    image = Image.fromarray(patches.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
    pixels = np.asarray(image) + np.random.default_rng(seed + 1).normal(0, noise, (*size[::-1], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_a_prepared_folder_is_read_back_as_it_was_named(tmp_path):
    names = [
        f'{pid}_{cam}_{shot}.png'
        for pid in ('eve', 'b-2', '007')
        for cam in ('door', 'hall')
        for shot in range(3)
    ]
    for seed, name in enumerate([*names, 'nobody.png', 'sub/nobody.png']):
        crop(tmp_path / 'crops' / name, seed)
    code = prepare_images.main(
        [str(tmp_path / 'crops'), str(tmp_path / 'out'), '--pattern', PATTERN, '--test-share', '0.34']
    )
    assert code == 0
    settings = dict(folders=dict(train='train'), pattern=PREPARED_PATTERN)
    train, test = (
        ImageFolderReID(str(tmp_path / 'out'), split=split, **settings) for split in ('train', 'test')
    )
    assert (len(train), len(test)) == (14, 6)
    assert set(train.identities.values()) == {'eve', 'b-2', '007'}
    assert set(train.cameras.values()) == {'door', 'hall'}
    assert (train.pids == -1).sum() == (train.cam_ids == -1).sum() == 2
    assert not set(train.pids) & set(test.pids)
    for dataset in (train, test):
        for index in range(len(dataset)):
            info = dataset.get_data_info(index)
            assert Path(info['img_path']).is_symlink()
            name = Path(info['img_path']).resolve().name
            known = (dataset.identities.get(info['pid']), dataset.cameras.get(info['cam_id']))
            assert known == (tuple(name.split('_')[:2]) if '_' in name else (None, None))
    with (tmp_path / 'out/manifest.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    assert all((tmp_path / 'out' / row['path']).resolve() == Path(row['source']).resolve() for row in rows)


def test_every_query_has_a_match_under_another_camera():
    rng = np.random.default_rng(0)
    pids = rng.integers(0, 60, 400).astype(str).tolist()
    cams = rng.choice(['a', 'b', 'c', ''], 400, p=[0.6, 0.2, 0.1, 0.1]).tolist()
    parts = split_images(pids, cams, 0.5, seed=3)
    assert parts == split_images(pids, cams, 0.5, seed=3) != split_images(pids, cams, 0.5, seed=4)
    gallery, queries = defaultdict(list), []
    for pid, cam, part in zip(pids, cams, parts, strict=True):
        if part == 'gallery':
            gallery[pid].append(cam)
        elif part == 'query':
            queries.append((pid, cam))
    assert len(queries) == len(set(queries)) > 40
    assert all(any(not cam or other != cam for other in gallery[pid]) for pid, cam in queries)
    trained = {pid for pid, part in zip(pids, parts, strict=True) if part == 'train'}
    assert len({pid for pid, _ in queries}) == 30
    assert not trained & {pid for pid, _ in queries}


def test_people_that_cannot_be_tested_are_trained_on():
    # one camera only; one image only; two cameras, one image each
    parts = split_images(['a', 'a', 'b', 'c', 'c'], ['x', 'x', 'x', 'x', 'y'], 1.0)
    assert parts[:3] == ['train'] * 3
    assert sorted(parts[3:]) == ['gallery', 'query']
    assert sorted(split_images(['a', 'a'], ['', ''], 1.0)) == ['gallery', 'query']


def test_images_of_nobody_known_are_kept_for_pictures():
    parts = split_images([''] * 100, ['x'] * 100, 0.2)
    assert [parts.count(part) for part in ('train', 'query', 'gallery')] == [80, 2, 18]


@pytest.mark.parametrize('option', [('--folders', 'pid/cam'), ('--csv', 'table.csv')])
def test_names_from_folders_and_from_a_table(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(('eve/door/1.png', 'eve/hall/1.png', 'bob/hall/2.png')):
        crop(Path('crops', name), seed)
    Path('table.csv').write_text(
        'path,pid,cam\neve/door/1.png,eve,door\neve/hall/1.png,eve,hall\nbob/hall/2.png,bob,hall\n'
    )
    assert prepare_images.main(['crops', 'out', *option, '--test-share', '0.5', '--copy']) == 0
    written = {path.relative_to('out').as_posix() for path in Path('out').glob('*/*/*/*.png')}
    assert {name.partition('/')[2] for name in written} == {
        'bob/hall/000000_2.png',
        'eve/door/000001_1.png',
        'eve/hall/000002_1.png',
    }
    assert not any(path.is_symlink() for path in Path('out').rglob('*'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (('crops', 'full'), 'not empty: remove it, or name another folder'),
        (('nowhere', 'out'), 'does not exist'),
        (
            ('crops', 'out', '--pattern', '^(?P<pid>[0-9]+)'),
            "does not match 1 of 1 images in '.*', such as 'eve_1.png'",
        ),
        (('crops', 'out', '--folders', 'pid/pid'), 'levels are pid, cam'),
        (('crops', 'full/x.png'), 'is a file, or not empty'),
        (('crops', 'out', '--csv', 'bad.csv'), 'with the column path'),
        (('crops', 'out', '--csv', 'latin.csv'), "latin.csv' is no CSV file in UTF-8"),
        (('crops', 'out', '--csv', 'short.csv'), "not in '.*', such as ''"),
        (
            ('crops', 'out', '--csv', 'lost.csv'),
            "1 of 1 images of '.*lost.csv' are not in '.*', such as 'x.png'",
        ),
        (('crops', 'out', '--csv', 'slash.csv'), "'a/b', which .* cannot be the name of a folder"),
        (('crops', 'out', '--test-share', '2'), 'test_share must be from 0 to 1, got 2'),
    ],
)
def test_errors_say_what_to_do(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    crop(Path('crops/eve_1.png'), 0)
    crop(Path('full/x.png'), 0)
    Path('bad.csv').write_text('file,pid\nx.png,1\n')
    Path('latin.csv').write_bytes('path,pid\nä.png,1\n'.encode('latin-1'))
    Path('short.csv').write_text('pid,path\neve\n')
    Path('lost.csv').write_text('path,pid\nx.png,1\n')
    Path('slash.csv').write_text('path,pid\neve_1.png,a/b\n')
    assert prepare_images.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not Path('out').exists()


@pytest.fixture
def flawed(tmp_path):
    """A folder with one image of every problem, and two good ones."""
    root = tmp_path / 'crops'
    crop(root / 'eve/good.png', 1)
    crop(root / 'bob/good.png', 2)
    content = crop(root / 'eve/whole.jpg', 3, (64, 128), noise=20).read_bytes()
    (root / 'eve/cut.jpg').write_bytes(content[: len(content) // 2])
    (root / 'eve/copy.png').write_bytes((root / 'eve/good.png').read_bytes())
    (root / 'eve/stolen.png').write_bytes((root / 'bob/good.png').read_bytes())
    crop(root / 'eve/frame.png', 1, noise=2)
    crop(root / 'bob/frame.png', 1, noise=3)
    crop(root / 'bob/small.png', 4, (8, 24))
    crop(root / 'bob/wide.png', 5, (64, 48))
    Image.new('RGB', (32, 64), (90, 90, 90)).save(root / 'bob/gray.png')
    return root


def test_names_that_are_not_utf8_are_reported(tmp_path, capsys):
    path = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9.png')
    Image.new('RGB', (32, 64), (90, 90, 90)).save(path)
    assert check_images.main([str(tmp_path), '--out', str(tmp_path / 'out.csv')]) == 0
    assert 'caf\N{REPLACEMENT CHARACTER}.png' in capsys.readouterr().out
    assert b'caf\xe9.png,blank' in (tmp_path / 'out.csv').read_bytes()


@pytest.mark.parametrize('workers', [1, 2])
def test_every_problem_is_found_once(flawed, tmp_path, capsys, workers):
    table = tmp_path / 'problems.csv'
    code = check_images.main(
        [str(flawed), '--folders', 'pid', '--out', str(table), '--workers', str(workers)]
    )
    assert code == 1
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row['problem'], row['path'], row['other']) for row in rows] == [
        ('corrupt', 'eve/cut.jpg', ''),
        ('two identities', 'eve/stolen.png', 'bob/good.png'),
        ('tiny', 'bob/small.png', ''),
        ('aspect', 'bob/wide.png', ''),
        ('blank', 'bob/gray.png', ''),
        ('duplicate', 'eve/good.png', 'eve/copy.png'),
        ('near-duplicate, two identities', 'eve/copy.png', 'bob/frame.png'),
        ('near-duplicate, two identities', 'eve/frame.png', 'bob/frame.png'),
    ]
    assert rows[1]['detail'] == 'identities eve and bob'
    printed = capsys.readouterr().out
    assert "11 images in '" in printed
    assert 'error        1  corrupt' in printed


def test_notes_are_errors_where_asked_for(tmp_path):
    crop(tmp_path / 'one.png', 1)
    crop(tmp_path / 'two.png', 1, noise=1)
    assert check_images.main([str(tmp_path)]) == 0
    assert check_images.main([str(tmp_path), '--strict']) == 1
    assert check_images.main([str(tmp_path), '--strict', '--near', '-1']) == 0


def test_near_duplicates_are_those_of_a_loop_over_pairs():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (40, 2)).astype(np.uint8)
    distance = (np.unpackbits(hashes, axis=1)[:, None] != np.unpackbits(hashes, axis=1)).sum(2)
    expected = []
    for row in range(40):
        close = [one for one in range(row) if distance[one, row] <= 3]
        if close:
            expected.append((close[0], row, distance[close[0], row]))
    assert len(expected) > 3
    assert list(near_duplicates(hashes, 3)) == expected


def test_a_link_to_an_image_is_prepared_as_the_file_itself(tmp_path):
    crop(tmp_path / 'store/1.png', 1)
    (tmp_path / 'crops').mkdir()
    (tmp_path / 'crops/1.png').symlink_to(tmp_path / 'store/1.png')
    images = read_named_images(str(tmp_path / 'crops'))
    write_split(images, ['train'], str(tmp_path / 'out'))
    (tmp_path / 'crops/1.png').unlink()
    assert not inspect_images([str(tmp_path / 'out/train/-1/-1/000000_1.png')])


def test_a_folder_inside_that_of_the_images_is_refused(tmp_path, capsys):
    crop(tmp_path / 'crops/a.png', 0)
    assert prepare_images.main([str(tmp_path / 'crops'), str(tmp_path / 'crops/out')]) == 2
    assert 'is inside the folder of the images' in capsys.readouterr().err
    assert os.listdir(tmp_path / 'crops') == ['a.png']
