"""Images of PIL are those that the pipelines decode."""

import cv2
import numpy as np
import pytest
from PIL import Image

from glc.apis import list_images
from glc.datasets.inspection import inspect_images
from glc.datasets.transforms import LoadReIDImage
from glc.datasets.walk import is_image
from glc.utils.images import as_rgb
from glc.visualization.contact_sheet import thumbnail
from glc.visualization.image_rows import open_image


@pytest.fixture
def write(tmp_path):
    """Write a gradient as a file of some kind; return it."""
    gray = np.linspace(0, 255, 64 * 32).reshape(64, 32).astype(np.uint8)
    plain = Image.fromarray(gray).convert('RGB')

    def written(kind):
        path = tmp_path / (kind if kind.startswith('turned') else f'{kind}.png')
        if kind.startswith('turned'):
            exif = Image.Exif()
            exif[0x0112] = 6
            plain.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif, quality=95)
        elif kind == 'gray16':
            Image.fromarray(gray.astype(np.uint16) * 257).save(path)
        elif kind == 'rgb16':
            cv2.imwrite(str(path), np.asarray(plain).astype(np.uint16) * 257)
        else:
            plain.convert(kind).save(path)
        return str(path)

    return written


@pytest.mark.parametrize(
    'kind', ['RGB', 'L', 'LA', 'RGBA', 'P', 'gray16', 'rgb16', 'turned.png', 'turned.jpg', 'turned.avif']
)
def test_every_reader_sees_the_image_of_the_pipeline(write, kind):
    if kind == 'turned.avif' and not is_image(kind):
        pytest.skip('this PIL opens no such files')
    path = write(kind)
    expected = LoadReIDImage()({'img_path': path})['img'][..., ::-1].astype(int)
    assert expected.shape == (64, 32, 3)
    assert np.ptp(expected) > 200
    with Image.open(path) as image:
        seen = [as_rgb(image), next(list_images(image)).info['img'][..., ::-1]]
    seen += [thumbnail(path, (32, 64)), open_image(path, (32, 64))]
    for image in seen:
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 2  # decoders of JPEG differ a little
    assert inspect_images([path], aspect=(1.5, 2.5)) == []


@pytest.mark.parametrize(('dtype', 'kind'), [(np.float32, 'floats'), (np.int32, 'integers')])
def test_pixels_of_32_bits_are_refused_by_every_reader(tmp_path, dtype, kind):
    path = str(tmp_path / 'wide.tif')
    image = Image.fromarray(np.full((64, 32), 9, dtype))
    image.save(path)
    message = f'its pixels are {kind} of 32 bits: scale them'
    with pytest.raises(RuntimeError, match=f'wide.tif.*{message}'):
        LoadReIDImage()({'img_path': path})
    with pytest.raises(ValueError, match=message):
        as_rgb(image)
    with pytest.raises(ValueError, match=message):
        next(list_images(image))
    (problem,) = inspect_images([path])
    assert (problem.kind, message in problem.detail) == ('corrupt', True)
