"""The interface of memory banks, and what they have in common."""

from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn


def gather_batch(rows: Tensor) -> Tensor:
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


def momentum_rows(
    bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str
) -> tuple[Tensor, Tensor]:
    """Momentum update of the rows of a bank that a batch hits.

    The rule for row ``t`` and instance ``x`` is ``bank[t] <- normalise(momentum * bank[t] + (1 - momentum) * x)``.

    Args:
        bank: ``(R, D)``, unit norm; not modified.
        features: ``(B, D)`` float32, unit norm.
        targets: ``(B,)`` int64 row of each instance.
        momentum: Share of the old row that stays.
        mode: ``'mean'`` applies the rule with every instance, those of a row in the order of the batch; ``'hard'`` once
            per row, with the instance that is least similar to the row before the update.

    Returns:
        The rows hit ``(T,)``, rising, and their new vectors ``(T, D)``.
    """
    if mode == 'hard':
        similarities = (features * bank[targets]).sum(1)
        # The least similar instance of each row: order by similarity, then (stably) by row.
        order = similarities.argsort(stable=True)
        order = order[targets[order].argsort(stable=True)]
    else:
        order = targets.argsort(stable=True)
    hit, counts = targets[order].unique_consecutive(return_counts=True)
    starts = counts.cumsum(0) - counts
    rows = bank[hit]
    for nth in range(1 if mode == 'hard' else int(counts.max())):
        has_nth = counts > nth
        instances = features[order[(starts + nth)[has_nth]]]
        rows[has_nth] = F.normalize(momentum * rows[has_nth] + (1 - momentum) * instances)
    return hit, rows


def replace_rows(bank: Tensor, hit: Tensor, rows: Tensor) -> Tensor:
    """The bank with new rows: a new tensor, not an in-place write, as the backward pass needs the old bank."""
    bank = bank.clone()
    bank[hit] = rows
    return bank


class BaseMemory(nn.Module):
    """Interface of a memory bank: ``reset`` once per labelling, then ``forward`` and ``update`` per batch.

    Every memory is handed all that one may need and takes what it wants: at a labelling the centroids, and labels,
    features and cameras of all images; with a batch the features, their labels, and the indices of the images, by
    which a memory finds what it was told at the labelling. ``update`` follows ``forward`` with the same batch; what
    ``forward`` returned is not changed by it.

    The bank is a non-persistent buffer, since the number of clusters C changes with every labelling: a checkpoint
    carries what it was reset to instead.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """What ``reset`` must be given besides the centroids: any of ``'labels'``, ``'features'``, ``'cam_ids'``."""
    takes_outliers: ClassVar[bool] = False
    """Whether a batch may hold outliers (label -1)."""

    bank: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer('bank', torch.empty(0, 0), persistent=False)

    @property
    def num_clusters(self) -> int:
        """Number of clusters C; 0 before the first ``reset``."""
        return self.bank.shape[0]

    def reset(
        self,
        centroids: Tensor,
        labels: Tensor | None = None,
        features: Tensor | None = None,
        cam_ids: Tensor | None = None,
    ) -> None:
        """Start again from a labelling.

        Args:
            centroids: ``(C, D)``, unit norm.
            labels: ``(N,)`` int64 pseudo labels of all images, -1 = outlier.
            features: ``(N, D)``, unit norm, of all images.
            cam_ids: ``(N,)`` camera of every image.

        Raises:
            ValueError: There are no centroids, or something that this memory :attr:`needs` is missing.
        """
        if centroids.ndim != 2 or not len(centroids):
            raise ValueError(
                f'a memory bank needs (C, D) centroids with C >= 1, got {tuple(centroids.shape)}'
            )
        given = {'labels': labels, 'features': features, 'cam_ids': cam_ids}
        missing = [name for name in self.needs if given[name] is None]
        if missing:
            raise ValueError(
                f'{type(self).__name__} needs {" and ".join(missing)} of all images: reset(centroids, labels, '
                'features, cam_ids); a checkpoint written with another memory does not hold them'
            )
        self.bank = centroids.detach().to(self.bank.device, torch.float32).clone()

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Contrastive loss of a batch, without side effect.

        Args:
            features: ``(B, D)``, unit norm.
            labels: ``(B,)`` int64 pseudo labels in ``[0, C)``, or -1 where the memory :attr:`takes_outliers`.
            indices: ``(B,)`` int64 index of each image in the tensors that ``reset`` was given.

        Returns:
            Scalar loss, a mean over the batch.
        """
        raise NotImplementedError

    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Write a batch into the bank; every process applies the update of the whole global batch.

        The global batch is that of the processes in the order of their ranks.

        Args:
            features: ``(B, D)``, unit norm; the gradient is not used.
            labels: As in ``forward``.
            indices: As in ``forward``.
        """
        raise NotImplementedError

    def _indices(self, indices: Tensor | None) -> Tensor:
        """The indices, which a memory that calls this cannot do without."""
        if not len(self.bank):
            raise RuntimeError('the memory bank is empty: call reset before the first batch')
        if indices is None:
            raise ValueError(
                f'{type(self).__name__} needs the indices of the images: memory(features, labels, indices)'
            )
        return indices.to(self.bank.device)
