"""The walk through folders that all data sets share."""

import os
import socket
import time
from pathlib import Path

import pytest
from PIL import Image

from glc.datasets import MSMT17, ImageFolderReID, LUPerson, Market1501
from glc.datasets.walk import image_endings, is_image, walk

from .layouts import MARKET, MSMT_LISTS, write_image, write_market, write_msmt


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_order_is_that_of_the_relative_paths(tmp_path):
    names = ['b.jpg', 'a/z.jpg', 'a/b/c.jpg', 'a.jpg', 'B.jpg', 'a/b.jpg']
    touch(tmp_path, *names)
    assert walk(tmp_path).images == sorted(names)
    assert walk(tmp_path, deep=False).images == ['B.jpg', 'a.jpg', 'b.jpg']
    assert walk(tmp_path, without=[tmp_path / 'a' / 'b']).images == [
        'B.jpg',
        'a.jpg',
        'a/b.jpg',
        'a/z.jpg',
        'b.jpg',
    ]


HIDDEN = (
    '._a.jpg .a.jpg .ipynb_checkpoints/a.jpg .git/a.png .thumbnails/x/a.jpg __MACOSX/a.jpg x/__MACOSX/x/a.jpg '
    '@eaDir/a.jpg/SYNO_THUMB.jpg $RECYCLE.BIN/a.jpg lost+found/a.jpg'
)


@pytest.mark.parametrize('name', HIDDEN.split())
def test_hidden_and_foreign_entries_are_left_out(tmp_path, name):
    touch(tmp_path, 'a.jpg', name)
    assert walk(tmp_path) == (['a.jpg'], {}, [])


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path):
    touch(tmp_path, '.cache/a.jpg')
    assert walk(tmp_path / '.cache').images == ['a.jpg']


def test_links_are_followed_and_every_real_folder_is_read_once_under_its_own_name(tmp_path):
    root = touch(tmp_path / 'root', 'real/1.jpg', 'real/deep/2.jpg', '3.jpg')
    touch(tmp_path / 'other', '4.jpg', 'sub/5.jpg')
    (root / 'a_link').symlink_to(root / 'real')
    (root / 'b_out').symlink_to(tmp_path / 'other')
    (root / 'c_out').symlink_to(tmp_path / 'other' / 'sub')
    (root / 'd.jpg').symlink_to(root / '3.jpg')
    found = walk(root)
    assert found.images == [
        '3.jpg',
        'b_out/4.jpg',
        'b_out/sub/5.jpg',
        'd.jpg',
        'real/1.jpg',
        'real/deep/2.jpg',
    ]
    assert found.left_out == ['a_link', 'c_out']


@pytest.mark.parametrize('target', ['.', '..', '../..', '/', 'x', 'x/y'])
def test_a_link_to_a_folder_that_holds_it_is_left_out(tmp_path, target):
    root = touch(tmp_path / 'parent' / 'root', '1.jpg', 'x/y/2.jpg')
    touch(tmp_path / 'parent', 'beside/3.jpg')
    (root / 'x' / 'y' / 'loop').symlink_to(os.path.join(root, target), target_is_directory=True)
    assert walk(root) == (['1.jpg', 'x/y/2.jpg'], {}, ['x/y/loop'])


@pytest.mark.parametrize('target', ['.', 'deep', 'deep/root'])
def test_a_link_outside_that_leads_back_is_left_out(tmp_path, target):
    root, other = touch(tmp_path / 'deep' / 'root', '1.jpg'), touch(tmp_path / 'other', '2.jpg')
    touch(tmp_path, 'deep/beside/3.jpg')
    (root / 'out').symlink_to(other)
    (other / 'back').symlink_to(tmp_path / target)
    assert walk(root) == (['1.jpg', 'out/2.jpg'], {}, ['out/back'])


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # such a path has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


SPECIAL = {
    'pipe': pipe,
    'socket': unix_socket,
    'device': lambda path: path.symlink_to('/dev/zero'),
    'broken link': lambda path: path.symlink_to('nowhere'),
    'link to itself': lambda path: path.symlink_to(path.name),
}


@pytest.mark.parametrize('kind', SPECIAL)
def test_only_regular_files_are_images(tmp_path, kind):
    touch(tmp_path, 'a.jpg', 'notes.txt', 'x/README')
    SPECIAL[kind](tmp_path / 'b.jpg')
    SPECIAL[kind](tmp_path / 'c.txt')
    found = walk(tmp_path)
    assert found.images == ['a.jpg']
    assert found.left_out == ['b.jpg']
    assert found.other_endings == {'.txt': 1, '': 1}


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / 'x').mkdir(mode=0o000)
    with pytest.raises(PermissionError, match='x'):
        walk(tmp_path)


@pytest.mark.parametrize('kind', ['absent', 'file'])
def test_what_is_no_folder_is_an_error(tmp_path, kind):
    touch(tmp_path, 'file')
    with pytest.raises(OSError, match=kind):
        walk(tmp_path / kind)


def test_endings_are_those_of_the_photo_formats_of_pil():
    usual = {
        '.jpg',
        '.jpeg',
        '.png',
        '.bmp',
        '.webp',
        '.tif',
        '.tiff',
        '.jfif',
        '.gif',
        '.ppm',
        '.jp2',
        '.tga',
    }
    assert usual <= image_endings()
    Image.init()
    assert ('.avif' in image_endings()) == ('AVIF' in Image.OPEN)
    assert not image_endings() & {'.pdf', '.eps', '.ico', '.h5', '.fits', '.mpg', '.txt', ''}
    assert is_image('x/A.JpG')
    assert not is_image('jpg')


def market(root):
    write_market(root)
    part = root / 'bounding_box_train'
    return part, lambda: Market1501(root, check='off'), len(MARKET['bounding_box_train'])


def msmt(root):
    write_msmt(root)
    number = len(MSMT_LISTS['list_train.txt']) + len(MSMT_LISTS['list_val.txt'])
    return root / 'train', lambda: MSMT17(root, check='off'), number


def luperson(root):
    write_image(root / 'images' / 'a.jpg')
    return root / 'images', lambda: LUPerson(root, check='off'), 1


def image_folder(root):
    write_image(root / 'a.jpg')
    return root, lambda: ImageFolderReID(root), 1


@pytest.mark.parametrize('layout', [market, msmt, luperson, image_folder])
def test_every_data_set_walks_alike(tmp_path, monkeypatch, layout):
    folder, build, number = layout(tmp_path)
    for name in (
        '._a.jpg',
        '._0002_c1s1_000451_03.jpg',
        '.ipynb_checkpoints/a.jpg',
        '__MACOSX/a.jpg',
        'Thumbs.db',
    ):
        touch(folder, name)
    (folder / 'loop').symlink_to(folder)
    os.mkfifo(folder / 'pipe.jpg')
    logged = []
    monkeypatch.setattr('glc.datasets.base.print_log', lambda message, **_: logged.append(message))
    assert len(build()) == number
    assert len(logged) == 1
    assert f"in '{folder}'" in logged[0]
    assert 'pipe.jpg' in logged[0]


@pytest.mark.slow
def test_ten_thousand_files_take_no_time(tmp_path):
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        for image in range(100):
            os.close(os.open(tmp_path / str(number) / f'{image}.jpg', os.O_CREAT))
    start = time.process_time()
    assert len(walk(tmp_path).images) == 10_000
    assert time.process_time() - start < 2  # 0.05 s on one core
