"""Memory banks: one vector per pseudo label, contrasted with the features of a batch.

Source: Dai et al., Cluster Contrast for Unsupervised Person Re-Identification, ACCV 2022.
"""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all processes, in the order of their ranks; the input itself without ``torch.distributed``.

    Args:
        rows: ``(B, ...)``, of the same shape on every process.

    Returns:
        ``(world_size * B, ...)``, without gradient.
    """
    rows = rows.detach()
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class BaseMemory(nn.Module):
    """Interface of a memory bank: ``reset`` once per labelling, then ``forward`` and ``update`` per batch.

    The bank is a non-persistent buffer, since the number of clusters C changes with every labelling: a checkpoint
    carries the centroids it was reset to instead.
    """

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('bank', torch.empty(0, 0), persistent=False)

    @property
    def num_clusters(self) -> int:
        """Number of clusters C; 0 before the first ``reset``."""
        return self.bank.shape[0]

    def reset(self, centroids: Tensor) -> None:
        """Start again from ``centroids`` ``(C, D)``, unit norm."""
        if centroids.ndim != 2 or not len(centroids):
            raise ValueError(
                f'a memory bank needs (C, D) centroids with C >= 1, got {tuple(centroids.shape)}'
            )
        self.bank = centroids.detach().to(self.bank.device, torch.float32).clone()

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Contrastive loss of a batch, without side effect.

        Args:
            features: ``(B, D)``, unit norm.
            labels: ``(B,)`` int64 pseudo labels in ``[0, C)``.

        Returns:
            Scalar loss.
        """
        raise NotImplementedError

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Write a batch into the bank; every process applies the update of the whole global batch.

        Args:
            features: ``(B, D)``, unit norm; the gradient is not used.
            labels: ``(B,)`` int64 pseudo labels in ``[0, C)``.
        """
        raise NotImplementedError


class ClusterMemory(BaseMemory):
    r"""Cluster contrast memory with momentum update.

    The loss is the cross entropy of ``x M^T / temperature``. The update of cluster ``y`` by an instance ``x`` is
    ``M[y] <- normalise(momentum * M[y] + (1 - momentum) * x)``.

    Args:
        temperature: Divisor of the similarities.
        momentum: Share of the old vector that stays in an update, in ``[0, 1]``.
        mode: ``'mean'`` applies the update with every instance of the batch, in order; ``'hard'`` once per cluster,
            with the instance that is least similar to ``M[y]`` before the update.

    Example:
        >>> import torch
        >>> memory = ClusterMemory(mode='hard')
        >>> memory.reset(torch.eye(3))
        >>> labels = torch.tensor([0, 2])
        >>> round(memory(torch.eye(3)[labels], labels).item(), 4)
        0.0
        >>> memory.update(torch.eye(3)[[1, 2]], labels)
        >>> memory.bank[0].round(decimals=2)
        tensor([0.2400, 0.9700, 0.0000])
    """

    def __init__(self, temperature: float = 0.05, momentum: float = 0.2, mode: str = 'hard') -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f'temperature must be positive, got {temperature}')
        if not 0 <= momentum <= 1:
            raise ValueError(f'momentum must be in [0, 1], got {momentum}')
        if mode not in ('mean', 'hard'):
            raise ValueError(f"mode must be 'mean' or 'hard', got {mode!r}")
        self.temperature = temperature
        self.momentum = momentum
        self.mode = mode

    def extra_repr(self) -> str:
        """Settings shown when the module is printed."""
        return f'temperature={self.temperature}, momentum={self.momentum}, mode={self.mode!r}'

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of the similarities to all clusters; see :meth:`BaseMemory.forward`."""
        if not self.num_clusters:
            raise RuntimeError('the memory bank is empty: call reset(centroids) before the first batch')
        with torch.autocast(features.device.type, enabled=False):
            return F.cross_entropy(features.float() @ self.bank.T / self.temperature, labels)

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Momentum update with the global batch; see :meth:`BaseMemory.update`."""
        features, labels = gather_rows(features.float()), gather_rows(labels)
        if self.mode == 'hard':
            similarities = (features * self.bank[labels]).sum(1)
            # The least similar instance of each cluster: order by similarity, then (stably) by label.
            order = similarities.argsort(stable=True)
            order = order[labels[order].argsort(stable=True)]
        else:
            order = labels.argsort(stable=True)
        ordered = labels[order]
        clusters, counts = ordered.unique_consecutive(return_counts=True)
        starts = counts.cumsum(0) - counts
        rounds = 1 if self.mode == 'hard' else int(counts.max())
        # A new tensor, not an in-place write: the backward pass of the loss still needs the old bank.
        bank = self.bank.clone()
        for nth in range(rounds):
            has_nth = counts > nth
            rows, targets = order[(starts + nth)[has_nth]], clusters[has_nth]
            mixed = self.momentum * bank[targets] + (1 - self.momentum) * features[rows]
            bank[targets] = F.normalize(mixed)
        self.bank = bank
