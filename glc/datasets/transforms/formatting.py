"""The last step of every pipeline."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform

from glc.registry import TRANSFORMS
from glc.structures import ReIDDataSample


@TRANSFORMS.register_module()
class PackReIDInputs(BaseTransform):
    """Packing of an image, and what is known about it, for the model.

    Required key: ``img`` (H, W, 3) uint8 BGR. The output is ``dict(inputs=..., data_samples=...)`` with the
    image as uint8 tensor (3, H, W), still BGR, and a :class:`~glc.structures.ReIDDataSample`.

    Args:
        meta_keys: Keys copied into the data sample where the pipeline has them.

    Example:
        >>> import numpy as np
        >>> from glc.datasets.transforms import PackReIDInputs
        >>> packed = PackReIDInputs()(dict(img=np.zeros((256, 128, 3), np.uint8), sample_idx=0, pid=5))
        >>> packed['inputs'].shape, packed['data_samples'].pid
        (torch.Size([3, 256, 128]), 5)
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'sample_idx',
            'pid',
            'cam_id',
            'view_id',
            'part',
            'is_query',
            'img_path',
            'erase_box',
            'erase_seed',
        ),
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Return the packed image."""
        pixels = results['img']
        image = np.empty((pixels.shape[2], *pixels.shape[:2]), pixels.dtype)
        cv2.split(pixels, list(image))  # faster than a transposed copy
        metainfo = {key: results[key] for key in self.meta_keys if key in results}
        return {'inputs': torch.from_numpy(image), 'data_samples': ReIDDataSample(metainfo=metainfo)}

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'
