"""Reading image files."""

import io
import os
import stat
from typing import Any, NoReturn

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from PIL import Image, UnidentifiedImageError

from glc.registry import TRANSFORMS
from glc.utils.images import check_depth

_MOST_PIXELS = 178_956_970  # PIL opens no more
_JPEG = b'\xff\xd8\xff'
_MOST_BYTES = 8  # of a pixel: four channels of 16 bits


@TRANSFORMS.register_module()
class LoadReIDImage(LoadImageFromFile):
    """Reader of an image file as (H, W, 3) uint8 BGR; it says which file cannot be read.

    OpenCV decodes what it can, and PIL the rest; of moving images, the first one. EXIF turns an image. Required key:
    ``img_path``. Optional keys: ``lmdb``, the LMDB in which ``img_path`` is a key; ``img``, an image in memory, which
    is taken as it is. Added keys: ``img``, ``img_shape``, ``ori_shape``.

    Args:
        max_pixels: Images of more pixels are refused before they are decoded. The default, 40 million, is more than
            most cameras take and needs 120 MB in every worker; a person crop has less than a million.
        **kwargs: Arguments of mmcv's ``LoadImageFromFile``.

    Raises:
        RuntimeError: If the file is missing, no regular file, truncated, no image, or an image of too many pixels or
            of pixels of 32 bits.
        ValueError: If ``max_pixels`` is no integer from 1 to 178,956,970, the most that PIL opens.

    Example:
        >>> from glc.datasets.transforms import LoadReIDImage
        >>> try:
        ...     LoadReIDImage()(dict(img_path='missing/0001_c1s1_000001_00.jpg'))
        ... except RuntimeError as error:
        ...     'missing/0001_c1s1_000001_00.jpg' in str(error)
        True
    """

    def __init__(self, *args: Any, max_pixels: int = 40_000_000, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if (
            isinstance(max_pixels, bool)
            or not isinstance(max_pixels, int)
            or not 1 <= max_pixels <= _MOST_PIXELS
        ):
            raise ValueError(
                f'LoadReIDImage: max_pixels={max_pixels!r} is no integer from 1 to {_MOST_PIXELS:,}'
            )
        self.max_pixels = max_pixels

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add the decoded image to ``results``."""
        try:
            image = results['img'] if 'img' in results else self._decoded(self._content(results))
        except Exception as error:
            if self.ignore_empty:
                return None
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise RuntimeError(
                f"cannot read the image '{results['img_path']}' ({reason}). Restore the file, or build the "
                "data set with unreadable='skip' to leave out such images and count them in the log."
            ) from error
        results['img'] = image.astype(np.float32) if self.to_float32 else image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def _content(self, results: dict[str, Any]) -> bytes:
        path = results['img_path']
        if self.file_client_args is not None:
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        backend = {'backend': 'lmdb', 'db_path': results['lmdb']} if 'lmdb' in results else self.backend_args
        if backend is None and '://' not in str(path):
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError('it is a folder, a pipe or a device, no regular file')
            if status.st_size > _MOST_BYTES * self.max_pixels:
                self._refuse(f'{status.st_size:,} bytes')
        return fileio.get(path, backend_args=backend)

    def _decoded(self, content: bytes) -> np.ndarray:
        if not content:
            raise ValueError('it is empty')
        try:
            # Reads the header only. Without the format, PIL tries others first.
            image = Image.open(io.BytesIO(content), formats=['JPEG'] if content.startswith(_JPEG) else None)
        except Image.DecompressionBombError:
            self._refuse(f'more than {_MOST_PIXELS:,} pixels')
        except UnidentifiedImageError:
            raise ValueError('its content is no image of a known format') from None
        with image:
            if image.width * image.height > self.max_pixels:
                self._refuse(f'{image.width} x {image.height} pixels')
            check_depth(image)
            if image.format in ('JPEG', 'TIFF', 'WEBP'):  # where OpenCV passes over damage
                image.draft('L', (1, 1))  # an eighth of the pixels of a JPEG
                image.load()
        decoded = None
        if image.format != 'AVIF':  # which OpenCV does not turn as EXIF says
            decoded = mmcv.imfrombytes(content, flag=self.color_type, backend=self.imdecode_backend)
        if decoded is None and image.format in ('JPEG', 'PNG'):
            raise ValueError('it is truncated or damaged')
        if decoded is None:  # OpenCV may lack the format
            decoded = mmcv.imfrombytes(content, flag=self.color_type, backend='pillow')
        return decoded

    def _refuse(self, size: str) -> NoReturn:
        raise ValueError(
            f'it has {size}, which is more than max_pixels={self.max_pixels:,} of LoadReIDImage allow: make it '
            'smaller, or raise max_pixels in the pipeline'
        )
