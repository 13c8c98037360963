"""Hybrid memory: one vector per image, clusters and outliers as classes.

Source: Ge et al., Self-paced Contrastive Learning with Hybrid Memory for Domain Adaptive Object Re-ID, NeurIPS 2020
(SpCL), without a source domain.
"""

from typing import ClassVar

import torch
from torch import Tensor

from glc.core.gpu import kernels_work
from glc.core.labels import PseudoLabels, as_labels, as_unit_features
from glc.core.memories.base import gather_batches, moved_rows
from glc.core.memories.cluster import ClusterMemory
from glc.core.parameters import POSITIVE, SHARE, checked


class HybridMemory(ClusterMemory):
    r"""Memory of instances: every cluster is a class, and every outlier is a class.

    A class is represented by the mean of the instances of its images. The mean is not scaled to unit length: a loose
    cluster has a short vector. ``bank`` (C + outliers, D) holds the means, clusters first. The loss is the cross
    entropy of ``x bank^T / temperature``.

    ``update`` moves the instance of every image in the batch, in the order of the batch:
    ``V[i] <- normalize(momentum * V[i] + (1 - momentum) * x)``. Then it computes the means of the classes again.

    The paper fills the instances once and then clusters the instances themselves. Here ``reset`` fills them with the
    features of every labeling. Outliers are negatives of every batch. A batch holds outliers only if the sampler draws
    them (``PseudoIdentitySampler(outlier_groups=...)``). The ``labels`` of a batch are not used: ``indices`` give the
    classes.

    Args:
        temperature: Divisor of the similarities.
        momentum: Share of the old instance that stays in an update, in [0, 1].

    Example:
        >>> memory = HybridMemory(momentum=0.0)
        >>> labels = torch.tensor([0, 0, -1])
        >>> memory.reset(PseudoLabels.from_features(torch.eye(3), labels))
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
    """(N, D) unit-norm vector of each image."""
    classes: Tensor
    """(N,) class of each image: its cluster, or C and more for an outlier."""

    @checked(temperature=POSITIVE, momentum=SHARE)
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

    def reset(self, pseudo: PseudoLabels) -> None:
        """Start again from a labeling; see :meth:`BaseMemory.reset`.

        Raises:
            ValueError: A field is None, or shapes do not match.
        """
        super().reset(pseudo)
        assert pseudo.features is not None
        device = self.bank.device
        self.instances = as_unit_features(pseudo.features).to(device).clone()
        self.classes = as_labels(pseudo.labels, len(self.instances)).to(device).clone()
        outliers = self.classes < 0
        self._num_clusters = pseudo.num_clusters
        num_classes = self._num_clusters + int(outliers.sum())
        self.classes[outliers] = torch.arange(self._num_clusters, num_classes, device=device)
        sums = torch.zeros(num_classes, self.instances.shape[1], dtype=torch.float64, device=device)
        self._sums = sums.index_add_(0, self.classes, self.instances.double())
        self._sizes = self.classes.bincount(minlength=num_classes)
        self.bank = self._means(torch.arange(num_classes, device=device))

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Compute the cross entropy of the similarities to all classes; see :meth:`BaseMemory.forward`."""
        images = self._rows(features, indices, 'indices', len(self.classes))
        return self._cross_entropy(features, self.classes[images])

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Apply the momentum update of the global batch; see :meth:`BaseMemory.update`."""
        images = self._rows(features, indices, 'indices', len(self.classes))
        features, images = gather_batches(features.float(), images)
        rows = moved_rows(self.instances, features, images, self.momentum, self.mode)
        if rows.is_cuda and kernels_work(rows.device):
            from glc.core.memories.triton_kernels import move_means_

            move_means_(
                self.bank, self._sums, self._sizes, self.classes[images], images, self.instances, rows
            )
            self.instances.index_copy_(0, images, rows)
            return
        repeated = (images[:, None] == images).tril(-1).any(1)  # an image that was drawn twice moves once
        classes = self.classes[images]
        moves = rows.double() - self.instances[images].double()
        self._sums.index_add_(0, classes, moves.masked_fill(repeated[:, None], 0))
        self.instances.index_copy_(0, images, rows)
        self.bank.index_copy_(0, classes, self._means(classes))

    def _means(self, classes: Tensor) -> Tensor:
        return (self._sums[classes] / self._sizes[classes, None]).float()
