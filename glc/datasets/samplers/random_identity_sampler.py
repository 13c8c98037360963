"""P x K batches of identities that show every image about once per epoch."""

from collections.abc import Iterator

import numpy as np
from mmengine.dist import get_dist_info
from torch import Tensor
from torch.utils.data import Sampler

from glc.core.labels import PseudoLabels, as_labels
from glc.core.parameters import AT_LEAST_ONE, SEED, checked
from glc.datasets.base import BaseReIDDataset, Draw
from glc.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class RandomIdentitySampler(Sampler[Draw]):
    """Sampler of ``num_ids`` identities x ``num_instances`` images that goes through the data set once per epoch.

    The images of an identity are shuffled and cut into groups of ``num_instances``; what is left over is not shown, and
    an identity of fewer images fills its only group by drawing with replacement. Every batch takes a group of each of
    ``num_ids`` random identities, until fewer than ``num_ids`` have groups left. Cameras do not matter. It is the
    sampler of the published source training. The number of batches differs a little between epochs.

    The stream of an epoch depends on the seed, the epoch and the labels only. Every process draws the same global
    batches and keeps its share of whole identities. Each draw carries the seed of its augmentation.

    Args:
        dataset: Training set; its identities are the labels until others are assigned.
        num_ids: Identities per global batch (P).
        num_instances: Images per identity (K).
        seed: Seed of the stream.

    Raises:
        ValueError: A number is below 1, or the processes cannot share the identities of a batch.
    """

    @checked(num_ids=AT_LEAST_ONE, num_instances=AT_LEAST_ONE, seed=[*SEED['seed'], None])
    def __init__(
        self, dataset: BaseReIDDataset, num_ids: int = 16, num_instances: int = 4, seed: int | None = None
    ) -> None:
        self._rank, self._world_size = get_dist_info()
        if num_ids % self._world_size:
            raise ValueError(
                f'a global batch of {num_ids} identities cannot be shared by {self._world_size} processes: '
                'use a number of processes that divides num_ids'
            )
        self.num_ids = num_ids
        self.num_instances = num_instances
        self.seed = seed or 0
        self.epoch = 0
        self._labels = np.asarray(dataset.pids)
        self._counts: dict[int, int] = {}

    @property
    def batch_size(self) -> int:
        """Images of one batch of this process."""
        return self.num_ids * self.num_instances // self._world_size

    def assign_pseudo_labels(self, pseudo: PseudoLabels) -> None:
        """Draw from these clusters from now on."""
        self.assign_labels(pseudo.labels)

    def assign_labels(self, labels: Tensor) -> None:
        """Draw from the identities of these labels (N,) from now on; negative ones are not drawn.

        Raises:
            ValueError: If the labels are no integers, or not one per image.
        """
        self._labels = as_labels(labels, len(self._labels)).cpu().numpy()
        self._counts = {}

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of this 0-based epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches(self.epoch) * self.batch_size

    def num_batches(self, epoch: int) -> int:
        """Return the number of batches of an epoch; hooks ask for it in every iteration, so it is kept."""
        if epoch not in self._counts:
            self._counts[epoch] = len(self._batches(np.random.default_rng((self.seed, epoch))))
        return self._counts[epoch]

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self.seed, self.epoch))
        batches = self._batches(rng)
        seeds = rng.integers(2**32, size=batches.shape)
        shape = (len(batches), self._world_size, -1, self.num_instances)
        mine = (part.reshape(shape)[:, self._rank].ravel().tolist() for part in (batches, seeds))
        return map(Draw, *mine)

    def _batches(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the images (B, P, K) of the global batches of an epoch.

        Raises:
            ValueError: There are fewer than ``num_ids`` identities.
        """
        groups = {
            int(label): self._groups(np.flatnonzero(self._labels == label), rng)
            for label in np.unique(self._labels[self._labels >= 0])
        }
        if len(groups) < self.num_ids:
            raise ValueError(f'{len(groups)} identities are fewer than num_ids={self.num_ids}')
        batches = []
        while len(groups) >= self.num_ids:
            chosen = rng.choice(list(groups), self.num_ids, replace=False).tolist()
            batches.append([groups[label].pop() for label in chosen])
            groups = {label: left for label, left in groups.items() if left}
        return np.array(batches)

    def _groups(self, members: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        size = self.num_instances
        if len(members) < size:
            return [rng.choice(members, size)]
        return list(rng.permutation(members)[: len(members) // size * size].reshape(-1, size))
