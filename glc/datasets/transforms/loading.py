"""Reading image files."""

from typing import Any

from mmcv.transforms import LoadImageFromFile

from glc.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadReIDImage(LoadImageFromFile):
    """Reader of an image file as (H, W, 3) uint8 BGR; it says which file cannot be read.

    Required key: ``img_path``. Optional key: ``lmdb``, the LMDB in which ``img_path`` is a key. Added keys: ``img``,
    ``img_shape``, ``ori_shape``. Takes the arguments of mmcv's ``LoadImageFromFile``.

    Raises:
        RuntimeError: If the file is missing, truncated or not an image.

    Example:
        >>> from glc.datasets.transforms import LoadReIDImage
        >>> try:
        ...     LoadReIDImage()(dict(img_path='missing/0001_c1s1_000001_00.jpg'))
        ... except RuntimeError as error:
        ...     'missing/0001_c1s1_000001_00.jpg' in str(error)
        True
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add the decoded image to ``results``."""
        if 'lmdb' in results:
            self.backend_args = {'backend': 'lmdb', 'db_path': results['lmdb']}
        try:
            return super().transform(results)
        except Exception as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise RuntimeError(
                f"cannot read the image '{results['img_path']}' ({reason}). Restore the file, or build the "
                "data set with unreadable='skip' to leave out such images and count them in the log."
            ) from error
