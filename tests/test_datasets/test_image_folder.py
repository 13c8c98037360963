"""A folder of one's own: parts, identities, cameras, and what is wrong with them."""

import os

import numpy as np
import pytest
from PIL import Image

from glc.datasets import ImageFolderReID
from glc.datasets.walk import image_endings

from .layouts import write_image
from .test_layouts import names


@pytest.fixture
def logged(monkeypatch):
    """What is logged."""
    lines = []
    for module in ('base', 'checks', 'image_folder'):
        monkeypatch.setattr(f'glc.datasets.{module}.print_log', lambda message, **_: lines.append(message))
    return lines


def write(root, *names):
    """Images of different contents."""
    for number, name in enumerate(names):
        write_image(root / name, seed=number)
    return root


def test_image_folder_without_a_pattern(tmp_path):
    for name in ('x/2.png', '1.jpg', 'x/y/3.JPG', 'notes.txt'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    dataset = ImageFolderReID(tmp_path)
    assert names(dataset) == ['1.jpg', '2.png', '3.JPG']
    np.testing.assert_array_equal(dataset.pids, [-1, -1, -1])
    np.testing.assert_array_equal(dataset.cam_ids, [-1, -1, -1])


def test_image_folder_numbers_a_camera_alike_in_query_and_gallery(tmp_path):
    for name in ('query/7_door.jpg', 'gallery/7_hall.jpg', 'gallery/-1_yard.jpg', 'gallery/9_door.jpg'):
        write_image(tmp_path / name)
    pattern = r'/(?P<pid>-?\d+)_(?P<cam>\w+)\.jpg$'
    dataset = ImageFolderReID(tmp_path, split='test', pattern=pattern)
    assert names(dataset) == ['7_door.jpg', '-1_yard.jpg', '7_hall.jpg', '9_door.jpg']
    np.testing.assert_array_equal(dataset.pids, [7, -1, 7, 9])
    np.testing.assert_array_equal(dataset.cam_ids, [0, 2, 1, 0])


def test_image_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'):
        ImageFolderReID(tmp_path / 'absent')
    with pytest.raises(RuntimeError, match='no usable image'):
        ImageFolderReID(tmp_path)
    write_image(tmp_path / 'x.jpg')
    with pytest.raises(ValueError, match=r"does not match 1 of 1 train images, such as 'x\.jpg'"):
        ImageFolderReID(tmp_path, pattern=r'c(?P<cam>\d)')
    with pytest.raises(FileNotFoundError, match='query'):
        ImageFolderReID(tmp_path, split='test')


@pytest.mark.parametrize(
    'ending', ['jpg', 'JPG', 'png', 'bmp', 'webp', 'tif', 'TIFF', 'jfif', 'gif', 'ppm', 'jp2', 'tga']
)
def test_images_of_every_format_are_read(tmp_path, ending):
    pixels = np.kron(
        np.random.default_rng(0).integers(0, 256, (4, 2, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8)
    )
    Image.fromarray(pixels).save(tmp_path / f'a.{ending}')
    (image,) = ImageFolderReID(tmp_path, pipeline=[dict(type='LoadReIDImage')])
    assert image['img'].shape == (64, 32, 3)
    assert np.abs(image['img'][..., ::-1].astype(int) - pixels).mean() < 12


def test_avif_is_read_where_pil_reads_it(tmp_path):
    if '.avif' not in image_endings():
        pytest.skip('this pillow reads no AVIF')
    Image.new('RGB', (32, 64), (200, 100, 50)).save(tmp_path / 'a.avif')
    (image,) = ImageFolderReID(tmp_path, pipeline=[dict(type='LoadReIDImage')])
    assert np.abs(image['img'].reshape(-1, 3).mean(0) - (50, 100, 200)).max() < 4


def test_no_image_names_the_folder_and_what_was_passed_over(tmp_path, monkeypatch):
    for name in ('1.heic', '2.HEIC', 'x/notes.txt', 'README'):
        (tmp_path / 'data' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'data' / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match='no usable image') as caught:
        ImageFolderReID('data')
    message = str(caught.value)
    assert f"Found instead in '{tmp_path}/data': 1 .txt, 1 without an ending, 2 .heic" in message
    assert '.jpg' in message


def test_training_images_are_not_those_of_the_tests(tmp_path, logged):
    write(tmp_path, '1.jpg', 'x/2.jpg', 'query/3.jpg', 'gallery/x/4.jpg')
    assert names(ImageFolderReID(tmp_path)) == ['1.jpg', '2.jpg']
    assert logged == [
        f"ImageFolderReID: the train images are those below '{tmp_path}', but not those in gallery, query (other parts)"
    ]
    assert names(ImageFolderReID(tmp_path, split='test')) == ['3.jpg', '4.jpg']
    assert len(logged) == 1
    (tmp_path / 'back').symlink_to(tmp_path / 'query')
    assert names(ImageFolderReID(tmp_path)) == ['1.jpg', '2.jpg']


def test_parts_inside_another_part(tmp_path, logged):
    write(tmp_path, 'test/1.jpg', 'test/probe/2.jpg', 'train/3.jpg')
    folders = dict(train='train', query='test/probe', gallery='test')
    dataset = ImageFolderReID(tmp_path, split='test', folders=folders)
    assert dataset.paths.tolist() == ['test/probe/2.jpg', 'test/1.jpg']
    assert len(logged) == 1
    logged.clear()
    assert ImageFolderReID(tmp_path, folders=folders).paths.tolist() == ['train/3.jpg']
    assert logged == []


@pytest.mark.parametrize('folder', ['test', 'val', 'bounding_box_test', 'query', 'market/gallery'])
def test_training_on_what_looks_like_a_test_set_is_said(tmp_path, logged, folder):
    write(tmp_path, '1.jpg', f'{folder}/2.jpg', f'{folder}/x/3.jpg', 'contest/4.jpg', 'test.jpg')
    folders = dict(query='other', gallery='others')
    assert len(ImageFolderReID(tmp_path, folders=folders)) == 5
    (line,) = logged
    assert 'of the 5 training images' in line
    assert f'2 in {folder}/' in line
    assert "folders=dict(train='...')" in line


@pytest.mark.parametrize(
    'pattern', [r'(?P<camera>c\d)', r'(?P<id>\d+)', r'(?P<pid>\d)(?P<Cam>\d)', r'(\d+)_', '', r'(?P<cam>', 3]
)
def test_a_typo_in_the_pattern_is_an_error(tmp_path, pattern):
    with pytest.raises(ValueError, match='pattern') as caught:
        ImageFolderReID(write(tmp_path, '1_c1.jpg'), pattern=pattern)
    assert repr(pattern) in str(caught.value)
    if pattern not in ('(?P<cam>', 3):
        assert '(?P<pid>...)' in str(caught.value)


@pytest.mark.parametrize(
    'folders', [dict(training='x'), dict(probe='x'), dict(train=None), dict(query=3), 'x', ['train']]
)
def test_a_typo_in_the_folders_is_an_error(tmp_path, folders):
    with pytest.raises(ValueError, match=r'folders .*train, query, gallery'):
        ImageFolderReID(write(tmp_path, '1.jpg'), folders=folders)


def test_a_pattern_that_some_images_lack_is_an_error(tmp_path):
    write(tmp_path, 'a_1.jpg', 'b.jpg', 'c.jpg')
    with pytest.raises(
        ValueError, match=r"does not match 2 of 3 train images, such as 'b\.jpg' in '/.*optional"
    ):
        ImageFolderReID(tmp_path, pattern=r'_(?P<pid>\d+)')
    dataset = ImageFolderReID(tmp_path, pattern=r'(?:_(?P<pid>\d+))?\.jpg')
    np.testing.assert_array_equal(dataset.pids, [1, -1, -1])


@pytest.mark.parametrize(
    ('found', 'pids', 'identities'),
    [
        (['alice', 'b-2', 'alice'], [0, 1, 0], {0: 'alice', 1: 'b-2'}),
        (['7', '0042', '7'], [7, 42, 7], {7: '7', 42: '0042'}),
        (['7', 'x', '07'], [1, 2, 0], {0: '07', 1: '7', 2: 'x'}),
        (['-1', '7', '-1'], [-1, 7, -1], {7: '7'}),
        (['-1', 'eve', '-1'], [-1, 0, -1], {0: 'eve'}),
        (['-2', '7', '3'], [0, 2, 1], {0: '-2', 1: '3', 2: '7'}),
        (['1_0', '10', '1'], [2, 1, 0], {0: '1', 1: '10', 2: '1_0'}),
        (['9' * 20, '5', '5'], [1, 0, 0], {0: '5', 1: '9' * 20}),
        (['', 'eve', ''], [-1, 0, -1], {0: 'eve'}),
        (['ä', 'é', '李'], [0, 1, 2], {0: 'ä', 1: 'é', 2: '李'}),
    ],
)
def test_identities_are_numbers_or_any_text(tmp_path, found, pids, identities):
    write(tmp_path, *(f'{number} {name}+.jpg' for number, name in enumerate(found)))
    dataset = ImageFolderReID(tmp_path, pattern=r' (?P<pid>[^/]*)\+')
    np.testing.assert_array_equal(dataset.pids, pids)
    assert dataset.identities == identities


def test_names_are_numbered_over_all_parts(tmp_path):
    write(tmp_path, 'ann@a.jpg', 'query/eve@b.jpg', 'gallery/bob@c.jpg', 'gallery/eve@a.jpg')
    pattern = r'(?P<pid>\w+)@(?P<cam>\w)'
    test, train = (ImageFolderReID(tmp_path, split=split, pattern=pattern) for split in ('test', 'train'))
    np.testing.assert_array_equal(test.pids, [2, 1, 2])
    np.testing.assert_array_equal(test.cam_ids, [1, 2, 0])
    np.testing.assert_array_equal(train.pids, [0])
    assert test.identities == train.identities == {0: 'ann', 1: 'bob', 2: 'eve'}
    assert test.cameras == train.cameras == {0: 'a', 1: 'b', 2: 'c'}


def test_training_images_without_identities_beside_tests_with_them(tmp_path):
    write(tmp_path, 'a.jpg', 'b.jpg', 'query/eve_1.jpg', 'gallery/eve_2.jpg', 'gallery/bob_3.jpg')
    test = ImageFolderReID(tmp_path, split='test', pattern=r'/(?P<pid>[a-z]+)_')
    np.testing.assert_array_equal(test.pids, [1, 0, 1])
    np.testing.assert_array_equal(ImageFolderReID(tmp_path).pids, [-1, -1])


def test_paths_are_relative_to_the_root(tmp_path, monkeypatch):
    write(tmp_path / 'data', 'x/1.jpg', 'y/2.jpg')
    monkeypatch.chdir(tmp_path)
    for root in ('data', './data/', os.path.abspath('data'), 'data/x/..'):
        dataset = ImageFolderReID(root)
        assert dataset.paths.tolist() == ['x/1.jpg', 'y/2.jpg']
        assert all(os.path.isfile(dataset.get_data_info(index)['img_path']) for index in range(2))


@pytest.mark.parametrize('how', ['copy', 'symlink', 'hardlink'])
def test_one_image_under_two_identities_is_said(tmp_path, logged, how):
    write(tmp_path, 'ann/1.jpg', 'ann/2.jpg', 'bob/3.jpg')
    source, target = tmp_path / 'ann/1.jpg', tmp_path / 'bob/4.jpg'
    if how == 'copy':
        target.write_bytes(source.read_bytes())
    else:
        getattr(target, f'{how}_to')(source)
    assert len(ImageFolderReID(tmp_path, pattern='(?P<pid>[^/]+)/')) == 4
    (line,) = logged
    assert line.startswith('1 images have the content of an image of another identity')
    assert f"'{source}' (pid 0) and '{target}' (pid 1)" in line


def test_copies_of_one_person_and_of_unknown_people_are_fine(tmp_path, logged):
    write(tmp_path, 'ann/1.jpg', 'bob/2.jpg')
    (tmp_path / 'ann/3.jpg').write_bytes((tmp_path / 'ann/1.jpg').read_bytes())
    for name in ('ann', 'bob'):
        (tmp_path / name / 'empty.jpg').touch()  # the transform that loads it names it
    assert len(ImageFolderReID(tmp_path, pattern='(?P<pid>[^/]+)/')) == 5
    (tmp_path / 'bob/4.jpg').write_bytes((tmp_path / 'ann/1.jpg').read_bytes())
    assert len(ImageFolderReID(tmp_path)) == 6
    assert logged == []
