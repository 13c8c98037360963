"""What is known about one image, besides its pixels."""

from mmengine.structures import BaseDataElement


class ReIDDataSample(BaseDataElement):
    """What is known about one person image.

    Metainfo fields (those the pipeline knows):

    - ``sample_idx`` (int): Index of the image in its data set.
    - ``pid`` (int): Person identity; -1 where unknown. Training without labels never reads it.
    - ``cam_id`` (int): Camera, 0-based; -1 where unknown.
    - ``view_id`` (int): Viewpoint, 0-based; where a data set knows it.
    - ``part`` (int): Number of the data set in a ``ConcatDataset``; absent elsewhere.
    - ``is_query`` (bool): Whether the image is a query of the test protocol.
    - ``img_path`` (str): File of the image.
    - ``erase_box`` (tuple[int, int, int, int]): ``(y, x, h, w)`` in pixels of the rectangle to erase;
      absent where nothing is erased.

    Tensors that a model predicts are stored as data fields.

    Example:
        >>> import torch
        >>> from glc.structures import ReIDDataSample
        >>> sample = ReIDDataSample(metainfo=dict(sample_idx=3, pid=7, cam_id=0, is_query=False))
        >>> sample.pid, sample.get('erase_box') is None
        (7, True)
        >>> sample.feature = torch.zeros(4)
        >>> sample.cpu().feature.shape
        torch.Size([4])
    """
