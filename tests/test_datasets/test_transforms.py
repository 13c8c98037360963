"""Transforms against independent computations."""

import io
import os
import random

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import pseudo_collate
from PIL import Image

from glc.datasets.collate import stack_images
from glc.datasets.transforms import LoadReIDImage, PackReIDInputs, PadRandomCrop, RandomErasing, Resize
from glc.models.data_preprocessor import MultiCropDataPreprocessor
from glc.registry import TRANSFORMS
from glc.structures import ReIDDataSample

from .layouts import write_image


def noise(height=64, width=32):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def blurred(height, width):
    """An image without hard edges."""
    tiles = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(tiles).resize((width, height), Image.Resampling.BICUBIC))


def test_loads_bgr(tmp_path):
    write_image(tmp_path / 'a.jpg')
    results = LoadReIDImage()(dict(img_path=str(tmp_path / 'a.jpg')))
    rgb = np.asarray(Image.open(tmp_path / 'a.jpg'))
    assert results['img'].dtype == np.uint8
    np.testing.assert_array_equal(results['img'], rgb[..., ::-1])


def saved(path, kind, size=(32, 64)):
    """An image of large tiles, as the bytes of a file of some kind."""
    tiles = np.random.default_rng(0).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    Image.fromarray(tiles).resize(size, Image.Resampling.NEAREST).save(path, kind)
    return path.read_bytes()


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')  # of Pillow
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'PPM', 'TGA', 'JPEG2000'])
@pytest.mark.parametrize('damage', ['half', 'almost all', 'header', 'empty', 'text', 'html'])
def test_damaged_image_is_named(tmp_path, kind, damage):
    path = tmp_path / 'a b.jpg'
    content = saved(path, kind)
    damaged = {
        'half': content[: len(content) // 2],
        'almost all': content[: len(content) * 9 // 10],
        'header': content[:12],
        'empty': b'',
        'text': b'PK\x03\x04 no image at all',
        'html': b'<!DOCTYPE html><html><body>404 Not Found</body></html>',
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(RuntimeError, match=r"cannot read the image '.*/a b\.jpg' \(.+\)\. Restore the file"):
        LoadReIDImage()(dict(img_path=str(path)))
    path.write_bytes(content)
    assert LoadReIDImage()(dict(img_path=str(path)))['img_shape'] == (64, 32)


def test_a_webp_that_opencv_decodes_in_part_is_named(tmp_path):
    """A part of the file is there twice."""
    path, rng, decoded_in_part = tmp_path / 'a.webp', np.random.default_rng(0), 0
    buffer = io.BytesIO()
    Image.fromarray(blurred(64, 32)).save(buffer, 'WEBP')
    content = buffer.getvalue()
    for _ in range(600):
        start, stop = sorted(rng.integers(0, len(content), 2))
        path.write_bytes(content[:stop] + content[start:])
        try:
            Image.open(path).load()
        except OSError:
            decoded_in_part += cv2.imread(str(path)) is not None
            with pytest.raises(RuntimeError, match=r"cannot read the image '.*a\.webp'"):
                LoadReIDImage()(dict(img_path=str(path)))
    assert decoded_in_part > 0


def test_a_png_without_its_end_is_named(tmp_path):
    path = tmp_path / 'a.png'
    path.write_bytes(saved(path, 'PNG')[:-8])  # PIL would decode it
    with pytest.raises(RuntimeError, match='truncated or damaged'):
        LoadReIDImage()(dict(img_path=str(path)))


@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'TIFF', 'WEBP', 'BMP'])
def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, monkeypatch, kind):
    path = tmp_path / f'a.{kind.lower()}'
    saved(path, kind, (40, 64))
    load = LoadReIDImage(max_pixels=40 * 64 - 1)
    with monkeypatch.context() as patch:
        patch.setattr('mmcv.imfrombytes', lambda *_, **__: pytest.fail('it was decoded'))
        with pytest.raises(RuntimeError, match=rf"'{path}' .*40 x 64 pixels, .*max_pixels=2,559"):
            load(dict(img_path=str(path)))
    assert LoadReIDImage(max_pixels=40 * 64)(dict(img_path=str(path)))['img'].shape == (64, 40, 3)


@pytest.mark.slow
@pytest.mark.parametrize('size', [(20_000, 20_000), (30_000, 1_400)])
def test_a_huge_image_is_refused_by_default(tmp_path, size):
    Image.new('1', size).save(tmp_path / 'a.png')
    with pytest.raises(RuntimeError, match=r'a\.png.*pixels, which is more than max_pixels=40,000,000'):
        LoadReIDImage()(dict(img_path=str(tmp_path / 'a.png')))


def test_a_file_of_more_bytes_than_pixels_need_is_not_read(tmp_path):
    with (tmp_path / 'a.jpg').open('wb') as file:
        file.truncate(2**40)  # takes no place on the disk
    with pytest.raises(RuntimeError, match=r'a\.jpg.*1,099,511,627,776 bytes'):
        LoadReIDImage()(dict(img_path=str(tmp_path / 'a.jpg')))


@pytest.mark.parametrize('max_pixels', [0, -1, 10**9, 1.5, None, '100', True])
def test_the_limit_of_pixels_is_checked(max_pixels):
    with pytest.raises(ValueError, match='max_pixels'):
        TRANSFORMS.build(dict(type='LoadReIDImage', max_pixels=max_pixels))


@pytest.mark.parametrize('kind', ['pipe', 'device', 'folder', 'absent'])
def test_what_is_no_regular_file_is_named_at_once(tmp_path, kind):
    path = tmp_path / 'a.jpg'
    if kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'device':
        path.symlink_to('/dev/zero')
    elif kind == 'folder':
        path.mkdir()
    with pytest.raises(RuntimeError, match=rf"'{path}' \(.*(no regular file|No such file)"):
        LoadReIDImage()(dict(img_path=str(path)))


def test_other_numbers_and_what_is_ignored_are_as_in_mmcv(tmp_path):
    write_image(tmp_path / 'a.png')
    assert LoadReIDImage(to_float32=True)(dict(img_path=str(tmp_path / 'a.png')))['img'].dtype == np.float32
    gray = LoadReIDImage(color_type='grayscale')(dict(img_path=str(tmp_path / 'a.png')))
    assert gray['img'].shape == gray['ori_shape'] == (64, 32)
    assert LoadReIDImage(ignore_empty=True)(dict(img_path=str(tmp_path / 'b.png'))) is None


@pytest.mark.parametrize(('height', 'width'), [(128, 64), (97, 41), (300, 150)])
def test_resize_is_pillows_bicubic_on_rgb(height, width):
    resize = TRANSFORMS.build(
        dict(type='Resize', scale=(128, 256), backend='pillow', interpolation='bicubic')
    )
    bgr = noise(height, width)
    expected = Image.fromarray(np.ascontiguousarray(bgr[..., ::-1])).resize(
        (128, 256), Image.Resampling.BICUBIC
    )
    np.testing.assert_array_equal(resize(dict(img=bgr))['img'], np.asarray(expected)[..., ::-1])


def test_pad_random_crop_windows_are_those_of_the_padded_image():
    image = noise(16, 8)
    padded = np.pad(image, ((3, 3), (3, 3), (0, 0)))
    windows = {padded[y : y + 16, x : x + 8].tobytes() for y in range(7) for x in range(7)}
    transform = PadRandomCrop(padding=3, size=(8, 16))
    random.seed(0)
    drawn = [transform(dict(img=image.copy())) for _ in range(600)]
    assert all(result['img_shape'] == (16, 8) for result in drawn)
    assert {result['img'].tobytes() for result in drawn} == windows


def test_pad_random_crop_of_a_small_image():
    with pytest.raises(ValueError, match='Resize'):
        PadRandomCrop(padding=2, size=(128, 256))(dict(img=noise()))


@pytest.mark.parametrize('interpolation', ['bicubic', 'bilinear'])
@pytest.mark.parametrize(('height', 'width'), [(128, 64), (256, 128), (160, 60), (300, 90), (500, 200)])
def test_torch_resizes_as_pillow_does(height, width, interpolation):
    """And cv2 does not: its bicubic filter is another one, and it leaves out pixels of larger images."""
    image = blurred(height, width)
    results = {
        backend: Resize([128, 256], backend=backend, interpolation=interpolation)(dict(img=image))
        for backend in ('torch', 'pillow', 'cv2')
    }
    by_pillow = np.asarray(
        Image.fromarray(image).resize((128, 256), Image.Resampling[interpolation.upper()])
    ).astype(int)
    difference = {backend: abs(found.pop('img') - by_pillow) for backend, found in results.items()}
    assert difference['pillow'].max() == 0
    assert difference['torch'].max() <= 2
    assert difference['torch'].mean() < 0.05
    if (height, width) == (128, 64) and torch.backends.cpu.get_cpu_capability() == 'AVX2':  # Market-1501
        assert difference['torch'].max() == 0
    if interpolation == 'bicubic' and (height, width) != (256, 128):
        assert difference['torch'].mean() < difference['cv2'].mean()
    assert results['torch'] == results['pillow']


def test_torch_resizes_gray_images_and_keeps_ratios():
    image = blurred(100, 30)[..., 0]
    resize = dict(scale=(64, 128), keep_ratio=True, interpolation='bicubic')
    by_torch, by_pillow = (Resize(backend=name, **resize)(dict(img=image)) for name in ('torch', 'pillow'))
    assert by_torch['img'].shape == by_pillow['img'].shape == (128, 38)
    assert abs(by_torch['img'].astype(int) - by_pillow['img']).max() <= 2
    with pytest.raises(ValueError, match="'bicubic' and 'bilinear', got 'lanczos'"):
        Resize((64, 128), backend='torch', interpolation='lanczos')


@settings(deadline=None, max_examples=30)
@given(
    st.integers(8, 300),
    st.integers(8, 150),
    st.floats(0.01, 0.3),
    st.floats(0.0, 0.6),
    st.floats(0.2, 1.0),
    st.integers(0, 2**32),
)
def test_erase_box_is_inside_and_as_asked(height, width, least, more, narrow, seed):
    area, aspect = (least, least + more), (narrow, 1 / narrow)
    random.seed(seed)
    results = RandomErasing(prob=1.0, area=area, aspect=aspect)(
        dict(img=np.empty((height, width, 3), np.uint8))
    )
    if 'erase_box' in results:
        y, x, h, w = results['erase_box']
        assert 0 < h < height
        assert 0 < w < width
        assert 0 <= y <= height - h
        assert 0 <= x <= width - w
        assert (h - 0.5) * (w - 0.5) <= area[1] * height * width
        assert (h + 0.5) * (w + 0.5) >= area[0] * height * width
        assert (h - 0.5) / (w + 0.5) <= aspect[1]
        assert (h + 0.5) / (w - 0.5) >= aspect[0]


def test_erase_boxes_have_the_published_statistics():
    random.seed(0)
    transform, image = RandomErasing(), np.empty((256, 128, 3), np.uint8)
    boxes = [transform(dict(img=image)).get('erase_box') for _ in range(4000)]
    boxes = np.array([box for box in boxes if box is not None])
    assert abs(len(boxes) / 4000 - 0.5) < 0.03
    share = boxes[:, 2] * boxes[:, 3] / (256 * 128)
    assert 0.019 < share.min() < 0.03
    assert 0.37 < share.max() < 0.41
    # Uniform places: the mean slack before the box is half of all slack.
    assert abs((boxes[:, 0] / (256 - boxes[:, 2])).mean() - 0.5) < 0.03
    assert abs((boxes[:, 1] / (128 - boxes[:, 3])).mean() - 0.5) < 0.03


def test_noise_boxes_have_a_seed_and_log_uniform_aspects():
    random.seed(0)
    transform = RandomErasing(1.0, (0.02, 1 / 3), (0.3, 1 / 0.3), attempts=10, log_aspect=True, noise=True)
    found = [transform(dict(img=np.empty((300, 300, 3), np.uint8))) for _ in range(3000)]
    aspects = np.array([results['erase_box'][2] / results['erase_box'][3] for results in found])
    assert abs((aspects > 1).mean() - 0.5) < 0.03  # uniform aspects: 0.77
    assert len({results['erase_seed'] for results in found}) == 3000
    packed = PackReIDInputs()(found[0])['data_samples']
    assert packed.erase_seed == found[0]['erase_seed']
    assert 'erase_seed' not in RandomErasing(1.0)(dict(img=np.empty((300, 300, 3), np.uint8)))


def test_erasing_leaves_pixels_and_unlikely_images_alone():
    image = noise()
    results = RandomErasing(prob=1.0)(dict(img=image.copy()))
    np.testing.assert_array_equal(results['img'], image)
    assert 'erase_box' not in RandomErasing(prob=0.0)(dict(img=image))
    # No rectangle of this area is smaller than the image on both sides.
    assert 'erase_box' not in RandomErasing(prob=1.0, area=(1.0, 1.0))(dict(img=image))


def test_packing():
    image = noise()[:, ::-1]
    results = dict(img=image, sample_idx=4, pid=7, cam_id=2, is_query=True, img_path='a.jpg', scale=(1, 2))
    packed = PackReIDInputs()(results)
    assert set(packed) == {'inputs', 'data_samples'}
    assert packed['inputs'].dtype == torch.uint8
    assert packed['inputs'].is_contiguous()
    np.testing.assert_array_equal(packed['inputs'].numpy(), np.moveaxis(image, 2, 0))
    sample = packed['data_samples']
    assert isinstance(sample, ReIDDataSample)
    assert set(sample.metainfo_keys()) == {'sample_idx', 'pid', 'cam_id', 'is_query', 'img_path'}
    assert (sample.sample_idx, sample.pid, sample.cam_id, sample.is_query) == (4, 7, 2, True)
    box = PackReIDInputs()(dict(img=image, erase_box=(1, 2, 3, 4)))['data_samples'].erase_box
    assert box == (1, 2, 3, 4)


@pytest.mark.parametrize('kind', ['LoadReIDImage', 'PadRandomCrop', 'RandomErasing', 'PackReIDInputs'])
def test_representation_names_the_arguments(kind):
    assert repr(TRANSFORMS.build(dict(type=kind))).startswith(f'{kind}(')


def test_cv2_and_pillow_decode_alike(tmp_path):
    write_image(tmp_path / 'a.jpg')
    decoded = cv2.imread(str(tmp_path / 'a.jpg'))
    np.testing.assert_array_equal(decoded[..., ::-1], np.asarray(Image.open(tmp_path / 'a.jpg')))


@pytest.mark.parametrize('padding', [0, 4])
def test_a_mirrored_image_is_cropped_and_packed_as_its_copy(padding):
    image = np.random.default_rng(0).integers(0, 256, (20, 10, 3), dtype=np.uint8)
    steps = PadRandomCrop(padding=padding, size=(8, 16)), PackReIDInputs()
    results = []
    for mirrored in (image[:, ::-1], image[:, ::-1].copy()):
        random.seed(3)
        cropped = steps[0](dict(img=mirrored))['img'].copy()
        packed = steps[1](dict(img=cropped))['inputs']
        assert np.array_equal(packed.permute(1, 2, 0), cropped)
        results.append(packed)
    assert torch.equal(*results)


def test_images_of_one_size_become_one_tensor():
    images = [torch.randint(256, (3, 8, 4), dtype=torch.uint8) for _ in range(3)]
    batch = stack_images([dict(inputs=image, data_samples=number) for number, image in enumerate(images)])
    assert torch.equal(batch['inputs'], torch.stack(images))
    assert batch['data_samples'] == [0, 1, 2]
    mixed = stack_images([dict(inputs=image) for image in (images[0], images[1][:, 1:])])['inputs']
    assert [image.shape for image in mixed] == [(3, 8, 4), (3, 7, 4)]
    crops = [dict(local=image[None].repeat(2, 1, 1, 1)) for image in images]
    one, other = (
        MultiCropDataPreprocessor()(collate([dict(inputs=crop) for crop in crops]))['inputs']['local']
        for collate in (stack_images, pseudo_collate)
    )
    assert torch.equal(one, other)
