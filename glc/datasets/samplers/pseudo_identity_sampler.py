"""P x K batches of pseudo identities."""

import logging
from collections.abc import Iterator
from numbers import Integral

import numpy as np
from mmengine.dist import get_dist_info
from mmengine.logging import print_log
from torch import Tensor
from torch.utils.data import Sampler

from glc.core.labels import PseudoLabels, as_labels
from glc.core.parameters import AT_LEAST_ONE, CAMERAS, SEED, Interval, checked
from glc.datasets.base import BaseReIDDataset, Draw
from glc.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class PseudoIdentitySampler(Sampler[Draw]):
    """Sampler of ``num_ids`` clusters x ``num_instances`` images, the same on any number of processes.

    Clusters come in random permutations. Of each cluster, one image is drawn at random. The others come from its images
    in other cameras or, if there are none, from its other images; an unknown camera counts as another one. Where these
    are too few, they repeat, so a batch is always full. Outliers (label -1) are drawn with ``outlier_groups`` only.

    The stream of an epoch depends on the seed, the epoch and the labels only. Every process draws the same global
    batches and keeps its share of whole identities. Each draw carries the seed of its augmentation.

    Args:
        dataset: Training set, for its camera ids.
        num_ids: Clusters per global batch (P).
        num_instances: Images per cluster (K).
        iterations: Global batches per epoch, whatever the number of clusters. None: one pass over the clusters, as many
            batches as the clusters fill; before there are labels, as many as the images fill. Schedules should then
            go by epoch.
        seed: Seed of the stream.
        outlier_groups: Groups of ``num_instances`` outliers per global batch, at its end, in the place of as many
            clusters; for memories that hold outliers as classes (:class:`~glc.core.memories.HybridMemory`).
            Without outliers these places go to clusters.
        use_cameras: Draw the other images of a cluster from other cameras where there are any.
    """

    @checked(
        num_ids=AT_LEAST_ONE,
        num_instances=AT_LEAST_ONE,
        iterations=[*AT_LEAST_ONE, None],
        seed=[*SEED['seed'], None],
        outlier_groups=[Interval(Integral, 0, None, closed='left')],
        **CAMERAS,
    )
    def __init__(
        self,
        dataset: BaseReIDDataset,
        num_ids: int = 32,
        num_instances: int = 8,
        iterations: int | None = 200,
        seed: int | None = None,
        outlier_groups: int = 0,
        use_cameras: bool = True,
    ) -> None:
        if outlier_groups >= num_ids:
            raise ValueError(
                f'outlier_groups must be from 0 to num_ids - 1 = {num_ids - 1}, got {outlier_groups}'
            )
        rank, world_size = get_dist_info()
        if num_ids % world_size:
            raise ValueError(
                f'a global batch of {num_ids} identities cannot be shared by {world_size} processes: '
                'use a number of processes that divides num_ids'
            )
        # One camera for all images is no camera rule.
        self.cam_ids = dataset.cam_ids if use_cameras else np.zeros_like(dataset.cam_ids)
        self.num_ids = num_ids
        self.num_instances = num_instances
        self.iterations = iterations
        self.seed = seed or 0
        self.outlier_groups = outlier_groups
        self.epoch = 0
        self._rank, self._world_size = rank, world_size
        self._members: list[np.ndarray] = []
        self._outliers = np.empty(0, np.int64)

    @property
    def batch_size(self) -> int:
        """Images of one batch of this process."""
        return self.num_ids * self.num_instances // self._world_size

    @property
    def _num_batches(self) -> int:
        """Global batches of an epoch."""
        if self.iterations is not None:
            return self.iterations
        groups = len(self._members) or len(self.cam_ids) // self.num_instances
        return max(1, groups // self.num_ids)

    def assign_pseudo_labels(self, pseudo: PseudoLabels) -> None:
        """Draw from these clusters from now on."""
        self.assign_labels(pseudo.labels)

    def assign_labels(self, labels: Tensor) -> None:
        """Draw from the clusters or identities of these labels (N,) from now on.

        Raises:
            ValueError: If the labels are no integers, or not one per image.
        """
        clusters = as_labels(labels).cpu().numpy()
        if len(clusters) != len(self.cam_ids):
            raise ValueError(f'{len(clusters)} pseudo labels for a data set of {len(self.cam_ids)} images')
        order = np.argsort(clusters, kind='stable')
        self._outliers, order = np.split(order, [np.count_nonzero(clusters < 0)])
        self._members = np.split(order, np.flatnonzero(np.diff(clusters[order])) + 1) if len(order) else []
        if len(self._members) < self.num_ids:
            print_log(
                f'{len(self._members)} clusters for batches of {self.num_ids} identities: '
                'clusters repeat within a batch',
                logger='current',
                level=logging.WARNING,
            )

    def set_epoch(self, epoch: int) -> None:
        """Choose the stream of this 0-based epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self._num_batches * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        if not self._members:
            raise RuntimeError('no clusters to draw from: call assign_pseudo_labels first')
        rng = np.random.default_rng((self.seed, self.epoch))
        draws = np.stack([self._draw(rng, cluster) for cluster in self._cluster_stream(rng)])
        if self.outlier_groups and len(self._outliers):
            batches = draws.reshape(self._num_batches, self.num_ids, self.num_instances)
            for batch in batches:
                batch[-self.outlier_groups :] = self._draw_outliers(rng)
        seeds = rng.integers(2**32, size=draws.shape)
        shape = (self._num_batches, self._world_size, -1, self.num_instances)
        mine = (part.reshape(shape)[:, self._rank].ravel().tolist() for part in (draws, seeds))
        return map(Draw, *mine)

    def _cluster_stream(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the clusters of the epoch: permutations, cut so that no batch holds a cluster twice."""
        count = len(self._members)
        per_permutation = count - count % self.num_ids or count
        needed = self._num_batches * self.num_ids
        rounds = -(-needed // per_permutation)
        return np.concatenate([rng.permutation(count)[:per_permutation] for _ in range(rounds)])[:needed]

    def _draw(self, rng: np.random.Generator, cluster: int) -> np.ndarray:
        """Draw ``num_instances`` images of one cluster, by the camera rule."""
        members = self._members[cluster]
        anchor = rng.choice(members)
        cameras = self.cam_ids[members]
        elsewhere = (cameras != self.cam_ids[anchor]) | (cameras < 0)
        others = members[elsewhere & (members != anchor)]
        if not len(others):
            others = members[members != anchor] if len(members) > 1 else members
        rest = self.num_instances - 1
        return np.append(anchor, rng.choice(others, rest, replace=len(others) < rest))

    def _draw_outliers(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the outliers of one batch; different ones where there are enough."""
        shape = self.outlier_groups, self.num_instances
        few = len(self._outliers) < self.outlier_groups * self.num_instances
        return rng.choice(self._outliers, shape, replace=few)
