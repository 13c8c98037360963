"""Checks of loaders and data sets before any long work."""

from typing import Any

from mmengine.dist import get_world_size
from torch.utils.data import DataLoader

from glc.core.memories import BaseMemory
from glc.datasets import BaseReIDDataset


def check_train_dataloader(loader: DataLoader) -> None:
    """Check that a training loader batches by labels, in batches of the sampler's size.

    Raises:
        TypeError: If the sampler takes no labels.
        ValueError: If the batch size is not the sampler's.
    """
    sampler: Any = loader.sampler
    if not hasattr(sampler, 'assign_pseudo_labels'):
        raise TypeError(f'{type(sampler).__name__} takes no pseudo labels: use PseudoIdentitySampler')
    if loader.batch_size != sampler.batch_size:
        raise ValueError(
            f'train_dataloader.batch_size is {loader.batch_size}, the sampler gives batches of '
            f'{sampler.batch_size} to each of {get_world_size()} processes: set batch_size to '
            'num_ids x num_instances (divided by the number of processes where the Runner is built by hand)'
        )


def check_cameras(memory: BaseMemory, dataset: BaseReIDDataset) -> None:
    """Check that every training image has a camera where the memory bank needs them.

    Raises:
        ValueError: If some have none.
    """
    unknown = int((dataset.cam_ids < 0).sum())
    if unknown and 'cam_ids' in memory.needs:
        raise ValueError(
            f'{type(memory).__name__} needs the camera of every image, {unknown} of {len(dataset)} training images '
            "have none: set train_dataloader.dataset.pattern of ImageFolderReID, with a group 'cam', or take a memory "
            'without cameras (model.head.memory.type=ClusterMemory)'
        )
