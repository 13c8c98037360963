"""Every image once per epoch, in global batches that any number of processes share."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from glc.core.parameters import AT_LEAST_ONE, SEED, checked
from glc.datasets.base import Draw
from glc.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShuffledSampler(Sampler[Draw]):
    """A permutation per epoch, cut into full global batches; what is left of it (less than a batch) is not drawn.

    The stream of an epoch depends on the seed and the epoch only: every process keeps an equal, connected share of each
    global batch. Each draw carries the seed of its augmentation.

    Args:
        dataset: Training set.
        batch_size: Images of a global batch, as ``train_dataloader.batch_size`` of the config.
        seed: Seed of the stream.

    Raises:
        ValueError: If the processes cannot share the batch, or the data set has less than one.
    """

    @checked(batch_size=AT_LEAST_ONE, seed=[*SEED['seed'], None])
    def __init__(self, dataset: Sized, batch_size: int, seed: int | None = None) -> None:
        self._rank, self._world_size = get_dist_info()
        if batch_size % self._world_size:
            raise ValueError(
                f'a global batch of {batch_size} images cannot be shared by {self._world_size} processes'
            )
        if len(dataset) < batch_size:
            raise ValueError(f'{len(dataset)} images are less than one global batch of {batch_size}')
        self.num_images = len(dataset)
        self.batch_size = batch_size
        self.iterations = self.num_images // batch_size
        self.seed = seed or 0
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of this 0-based epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.iterations * self.batch_size // self._world_size

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        count = self.iterations * self.batch_size
        shape = (self.iterations, self._world_size, -1)
        images = rng.permutation(self.num_images)[:count].reshape(shape)[:, self._rank].ravel()
        seeds = rng.integers(2**32, size=count).reshape(shape)[:, self._rank].ravel()
        return (Draw(int(image), int(seed)) for image, seed in zip(images, seeds, strict=True))
