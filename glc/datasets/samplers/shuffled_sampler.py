"""Batches of any images, without identities, which any number of processes share."""

from collections.abc import Iterator, Sized

import numpy as np
from mmengine.dist import get_dist_info
from torch import Tensor
from torch.utils.data import Sampler

from glc.core.labels import PseudoLabels, as_labels
from glc.core.parameters import AT_LEAST_ONE, SEED, checked
from glc.datasets.base import Draw
from glc.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class ShuffledSampler(Sampler[Draw]):
    """Permutations, cut into full global batches; what is left of each (less than a batch) is not drawn.

    It draws all images, as pre-training does. Where labels are assigned it draws those that have one, whatever it is:
    the sampling of Cluster Contrast without identities.

    The stream of an epoch depends on the seed, the epoch and which images have a label. Every process keeps an equal,
    connected share of each global batch. Each draw carries the seed of its augmentation.

    Args:
        dataset: Training set.
        batch_size: Images of a global batch, as ``train_dataloader.batch_size`` of the config.
        seed: Seed of the stream.
        iterations: Global batches per epoch, from as many permutations as they take. None: one permutation.

    Raises:
        ValueError: If the processes cannot share the batch, or the data set has less than one.
    """

    @checked(batch_size=AT_LEAST_ONE, seed=[*SEED['seed'], None], iterations=[*AT_LEAST_ONE, None])
    def __init__(
        self, dataset: Sized, batch_size: int, seed: int | None = None, iterations: int | None = None
    ) -> None:
        self._rank, self._world_size = get_dist_info()
        if batch_size % self._world_size:
            raise ValueError(
                f'a global batch of {batch_size} images cannot be shared by {self._world_size} processes'
            )
        if len(dataset) < batch_size:
            raise ValueError(f'{len(dataset)} images are less than one global batch of {batch_size}')
        self.num_images = len(dataset)
        self.global_batch_size = batch_size
        self.iterations = iterations
        self.seed = seed or 0
        self.epoch = 0
        self._images = np.arange(self.num_images)

    @property
    def batch_size(self) -> int:
        """Images of one batch of this process."""
        return self.global_batch_size // self._world_size

    @property
    def _num_batches(self) -> int:
        """Global batches of an epoch."""
        return self.iterations or len(self._images) // self.global_batch_size

    def assign_pseudo_labels(self, pseudo: PseudoLabels) -> None:
        """Draw the images that are no outliers from now on."""
        self.assign_labels(pseudo.labels)

    def assign_labels(self, labels: Tensor) -> None:
        """Draw the images whose label (N,) is not negative from now on.

        Raises:
            ValueError: If the labels are no integers, not one per image, or too few are not negative for a batch.
        """
        images = np.flatnonzero(as_labels(labels, self.num_images).cpu().numpy() >= 0)
        if len(images) < self.global_batch_size:
            raise ValueError(
                f'{len(images)} images with a label are less than one global batch of {self.global_batch_size}'
            )
        self._images = images

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of this 0-based epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_batches * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        count = self._num_batches * self.global_batch_size
        per_round = len(self._images) // self.global_batch_size * self.global_batch_size
        rounds = [rng.permutation(self._images)[:per_round] for _ in range(-(-count // per_round))]
        shape = (self._num_batches, self._world_size, -1)
        draws = np.concatenate(rounds)[:count], rng.integers(2**32, size=count)
        return map(Draw, *(part.reshape(shape)[:, self._rank].ravel().tolist() for part in draws))
