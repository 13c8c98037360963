"""Hybrid memory: one vector per image, clusters and outliers as classes.

Source: Ge et al., Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID, NeurIPS 2020
(SpCL), without a source domain.
"""

from typing import ClassVar

import torch
from torch import Tensor

from glc.core.labels import as_labels, as_unit_features
from glc.core.memories.base import gather_batch, momentum_rows, replace_rows
from glc.core.memories.cluster import ClusterMemory


class HybridMemory(ClusterMemory):
    r"""Memory of instances: classes are the clusters and, each for itself, the outliers.

    A class is represented by the mean of the instances of its images, which is not scaled to unit length: a loose
    cluster has a short vector. ``bank`` ``(C + outliers, D)`` holds these means, clusters first. The loss is the
    cross entropy of ``x bank^T / temperature``.

    ``update`` moves the instance of every image in the batch, in the order of the batch,
    ``V[i] <- normalise(momentum * V[i] + (1 - momentum) * x)``, and then takes the means of the classes anew.

    The paper fills the instances once and clusters them from then on; here ``reset`` fills them with the features of
    every labelling. Outliers are negatives of every batch; they are drawn themselves where the sampler does so
    (``PseudoIdentitySampler(outlier_groups=...)``). ``labels`` of a batch are not used: ``indices`` give the classes.

    Args:
        temperature: Divisor of the similarities.
        momentum: Share of the old instance that stays in an update, in ``[0, 1]``.

    Example:
        >>> import torch
        >>> memory = HybridMemory(momentum=0.0)
        >>> labels = torch.tensor([0, 0, -1])
        >>> memory.reset(torch.eye(3)[:1], labels, torch.eye(3))
        >>> memory.bank
        tensor([[0.5000, 0.5000, 0.0000],
                [0.0000, 0.0000, 1.0000]])
        >>> memory.update(torch.eye(3)[:1], labels[1:2], indices=torch.tensor([1]))
        >>> memory.bank[0]
        tensor([1., 0., 0.])
    """

    needs: ClassVar[tuple[str, ...]] = ('labels', 'features')
    takes_outliers: ClassVar[bool] = True

    instances: Tensor
    """``(N, D)`` unit-norm vector of each image."""
    classes: Tensor
    """``(N,)`` class of each image: its cluster, or C and more for an outlier."""

    def __init__(self, temperature: float = 0.05, momentum: float = 0.2) -> None:
        super().__init__(temperature, momentum, mode='mean')
        self.register_buffer('instances', torch.empty(0, 0), persistent=False)
        self.register_buffer('classes', torch.empty(0, dtype=torch.int64), persistent=False)
        # Sums in float64, so that a batch changes them by differences without a trace of rounding.
        self.register_buffer('_sums', torch.empty(0, 0, dtype=torch.float64), persistent=False)
        self.register_buffer('_sizes', torch.empty(0, dtype=torch.int64), persistent=False)
        self._num_clusters = 0

    @property
    def num_clusters(self) -> int:
        """Number of clusters C, outliers not counted; 0 before the first ``reset``."""
        return self._num_clusters

    def reset(
        self,
        centroids: Tensor,
        labels: Tensor | None = None,
        features: Tensor | None = None,
        cam_ids: Tensor | None = None,
    ) -> None:
        """Start again from a labelling; see :meth:`BaseMemory.reset`.

        Raises:
            ValueError: Something is missing, or shapes do not match.
        """
        super().reset(centroids, labels, features, cam_ids)
        assert labels is not None
        assert features is not None
        device = self.bank.device
        self.instances = as_unit_features(features).to(device).clone()
        self.classes = as_labels(labels, len(features)).to(device).clone()
        outliers = self.classes < 0
        self._num_clusters = len(centroids)
        num_classes = self._num_clusters + int(outliers.sum())
        self.classes[outliers] = torch.arange(self._num_clusters, num_classes, device=device)
        sums = torch.zeros(num_classes, features.shape[1], dtype=torch.float64, device=device)
        self._sums = sums.index_add_(0, self.classes, self.instances.double())
        self._sizes = self.classes.bincount(minlength=num_classes)
        self.bank = self._means(torch.arange(num_classes, device=device))

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Cross entropy of the similarities to all classes; see :meth:`BaseMemory.forward`."""
        return super().forward(features, self.classes[self._indices(indices)])

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Momentum update with the global batch; see :meth:`BaseMemory.update`."""
        features, indices = gather_batch(features.float()), gather_batch(self._indices(indices))
        images, rows = momentum_rows(self.instances, features, indices, self.momentum, self.mode)
        classes = self.classes[images]
        self._sums.index_add_(0, classes, rows.double() - self.instances[images].double())
        self.instances[images] = rows
        changed = classes.unique()
        self.bank = replace_rows(self.bank, changed, self._means(changed))

    def _means(self, classes: Tensor) -> Tensor:
        return (self._sums[classes] / self._sizes[classes, None]).float()
