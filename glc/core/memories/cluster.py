"""Cluster memory: one vector per pseudo label, contrasted with the features of a batch.

Source: Dai et al., Cluster Contrast for Unsupervised Person Re-Identification, ACCV 2022.
"""

import torch
from torch import Tensor

from glc.core.memories.base import (
    UPDATE,
    BaseMemory,
    cross_entropy,
    gather_batches,
    moved_rows,
    similarity_loss,
)
from glc.core.parameters import POSITIVE, checked


class ClusterMemory(BaseMemory):
    r"""Cluster contrast memory with momentum update.

    The loss is the cross entropy of ``x M^T / temperature``. The update of cluster ``y`` by an instance ``x`` is
    ``M[y] <- normalize(momentum * M[y] + (1 - momentum) * x)``.

    Args:
        temperature: Divisor of the similarities.
        momentum: Share of the old vector that stays in an update, in [0, 1].
        mode: ``'mean'`` applies the update with every instance, in the order of the batch. ``'hard'`` applies it once
            per cluster, with the instance that is least similar to ``M[y]`` before the update.

    Example:
        >>> from glc import PseudoLabels
        >>> memory = ClusterMemory(mode='hard')
        >>> memory.reset(PseudoLabels.from_features(torch.eye(3), torch.arange(3)))
        >>> labels = torch.tensor([0, 2])
        >>> abs(round(memory(torch.eye(3)[labels], labels).item(), 4))
        0.0
        >>> memory.update(torch.eye(3)[[1, 2]], labels)
        >>> memory.bank[0].round(decimals=2)
        tensor([0.2400, 0.9700, 0.0000])
    """

    @checked(temperature=POSITIVE, **UPDATE)
    def __init__(self, temperature: float = 0.05, momentum: float = 0.2, mode: str = 'hard') -> None:
        super().__init__()
        self.temperature = temperature
        self.momentum = momentum
        self.mode = mode

    def extra_repr(self) -> str:
        """Show the settings when the module is printed."""
        return f'temperature={self.temperature}, momentum={self.momentum}, mode={self.mode!r}'

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Compute the cross entropy of the similarities to all clusters; see :meth:`BaseMemory.forward`."""
        labels = self._rows(features, labels, 'labels', len(self.bank))
        return self._cross_entropy(features, labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Apply the momentum update of the global batch; see :meth:`BaseMemory.update`."""
        labels = self._rows(features, labels, 'labels', len(self.bank))
        features, labels = gather_batches(features.float(), labels)
        rows = moved_rows(self.bank, features, labels, self.momentum, self.mode)
        self.bank.index_copy_(0, labels, rows)

    def _cross_entropy(self, features: Tensor, rows: Tensor) -> Tensor:
        return similarity_loss(
            features, self.bank, self.temperature, lambda similarities: cross_entropy(similarities, rows)
        )
