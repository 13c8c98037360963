"""The interface of memory banks, and what they have in common."""

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from glc.core.gpu import kernels_work
from glc.core.labels import PseudoLabels
from glc.core.parameters import SHARE, Rules, StrOptions, checked

UPDATE: Rules = {'momentum': SHARE, 'mode': [StrOptions({'mean', 'hard'})]}


def gather_batch(rows: Tensor) -> Tensor:
    """Gather the rows of all processes, in the order of their ranks; return the input itself if there is one process.

    Args:
        rows: (B, ...), of the same shape on every process.

    Returns:
        (world_size * B, ...), without gradient.
    """
    return gather_batches(rows)[0]


def gather_batches(*tensors: Tensor) -> list[Tensor]:
    """Gather several tensors as :func:`gather_batch` does, all at the same time."""
    detached = [rows.detach() for rows in tensors]
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return detached
    gathered = [rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:]) for rows in detached]
    running = [
        dist.all_gather_into_tensor(everything, rows.contiguous(), async_op=True)
        for everything, rows in zip(gathered, detached, strict=True)
    ]
    for work in running:
        assert work is not None, 'only processes outside of the group get None'
        work.wait()
    return gathered


@checked(**UPDATE)
def momentum_rows(
    bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str
) -> tuple[Tensor, Tensor]:
    """Compute the momentum update of the rows of a bank that a batch hits.

    The rule for row ``t`` and instance ``x`` is ``bank[t] <- normalize(momentum * bank[t] + (1 - momentum) * x)``.

    Args:
        bank: (R, D), unit norm; not modified.
        features: (B, D) float32, unit norm.
        targets: (B,) int64 row of each instance.
        momentum: Share of the old row that stays, in [0, 1].
        mode: ``'mean'`` applies the rule with every instance, in the order of the batch. ``'hard'`` applies it once per
            row, with the instance that is least similar to the row before the update.

    Returns:
        The rows hit (T,), in rising order, and their new vectors (T, D).

    Raises:
        ValueError: A parameter is out of range, shapes do not match, or a target is no row, see :func:`row_numbers`.
    """
    if features.ndim != 2 or features.shape[1:] != bank.shape[1:]:
        raise ValueError(f'features must be (B, {bank.shape[1]}), got {tuple(features.shape)}')
    targets = row_numbers(targets, len(features), 'targets', len(bank))
    hit, group = targets.unique(return_inverse=True)
    rows = torch.empty_like(bank[hit])
    rows[group] = moved_rows(bank, features, targets, momentum, mode)
    return hit, rows


def moved_rows(bank: Tensor, features: Tensor, targets: Tensor, momentum: float, mode: str) -> Tensor:
    """Compute the update of :func:`momentum_rows` for every instance, without waiting for a GPU.

    Args:
        bank: As in :func:`momentum_rows`.
        features: Likewise.
        targets: Likewise, checked.
        momentum: Likewise.
        mode: Likewise.

    Returns:
        The new vector of the row of each instance (B, D); instances of one row have the same.
    """
    rows = bank.index_select(0, targets)
    if rows.is_cuda and kernels_work(rows.device):
        from glc.core.memories.triton_kernels import move_rows_

        move_rows_(rows, features.contiguous(), targets, momentum, mode)
        return rows
    if mode == 'hard':
        similarities = (features * rows).sum(1)
        chosen = similarities.where(targets[:, None] == targets, torch.inf).argmin(1)
        return F.normalize(momentum * rows + (1 - momentum) * features[chosen])
    hit, group = targets.unique(return_inverse=True)
    rows = bank[hit]
    order = group.argsort(stable=True)
    nth = torch.arange(len(order), device=order.device) - torch.searchsorted(group[order], group[order])
    for step in range(int(nth.max()) + 1):
        instances = order[nth == step]
        mine = group[instances]
        rows[mine] = F.normalize(momentum * rows[mine] + (1 - momentum) * features[instances])
    return rows[group]


class _SimilarityLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        bank: Tensor,
        temperature: float,
        loss_of: Callable[[Tensor], tuple[Tensor, Tensor]],
    ) -> Tensor:
        loss, gradient = loss_of((features / temperature) @ bank.T)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(gradient @ bank / temperature)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (of_features,) = ctx.saved_tensors
        return gradient * of_features, None, None, None


def similarity_loss(
    features: Tensor, bank: Tensor, temperature: float, loss_of: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Compute a loss of the similarities ``x bank^T / temperature``, in float32, also under autocast.

    The gradient is computed at once, so the bank may change before the backward pass, and needs no copy.

    Args:
        features: (B, D).
        bank: (R, D) float32.
        temperature: Divisor of the similarities.
        loss_of: Turns the similarities (B, R) into a scalar and its gradient (B, R).

    Returns:
        Scalar; it can be differentiated once, by the features.
    """
    with torch.autocast(features.device.type, enabled=False):
        return _SimilarityLoss.apply(features.float(), bank, temperature, loss_of)


def cross_entropy(similarities: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the mean cross entropy of similarities (B, R) to the rows (B,) of the images, and its gradient (B, R).

    The gradient may take the memory of the similarities.
    """
    if similarities.is_cuda and kernels_work(similarities.device):
        from glc.core.memories.triton_kernels import cross_entropy_

        return cross_entropy_(similarities, rows)
    log_p = similarities.log_softmax(1)
    own = rows[:, None]
    loss = -log_p.gather(1, own).mean()
    gradient = log_p.exp_().scatter_add_(1, own, log_p.new_full(own.shape, -1.0))
    return loss, gradient / len(rows)


def replace_rows(bank: Tensor, hit: Tensor, rows: Tensor) -> Tensor:
    """Return a copy of the bank with new rows."""
    bank = bank.clone()
    bank[hit] = rows
    return bank


def row_numbers(numbers: Tensor, batch: int, name: str, count: int) -> Tensor:
    """Check numbers of the rows of a table.

    To look at them would make the CPU wait for a GPU. There, negative numbers, which would count from the end or be
    ignored, become very large: indices out of range, for which the device stops.

    Args:
        numbers: Integers (B,).
        batch: B, at least 1.
        name: What they are, for the message.
        count: Rows of the table.

    Returns:
        int64 numbers (B,).

    Raises:
        ValueError: They are not B integers, B is 0, or, on a CPU, one is not in [0, count).
    """
    integers = not (numbers.is_floating_point() or numbers.is_complex() or numbers.dtype == torch.bool)
    if not integers or numbers.shape != (batch,) or not batch:
        raise ValueError(
            f'{name} must be (B,) integers for a batch of B >= 1 images, got {numbers.dtype} of shape '
            f'{tuple(numbers.shape)} for {batch} images'
        )
    numbers = numbers.long()
    if numbers.device.type != 'cpu':
        return numbers & torch.iinfo(torch.int64).max
    wrong = (numbers < 0) | (numbers >= count)
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f'{name} must be in [0, {count}): {int(wrong.sum())} of {batch} are not, the first is '
            f'{int(numbers[first])} at {first}'
        )
    return numbers


class BaseMemory(nn.Module):
    """Interface of a memory bank: ``reset`` once per labeling, then ``forward`` and ``update`` once per batch.

    A memory receives the whole labeling; it uses the centroids and the fields listed in :attr:`needs`. A batch comes as
    features, labels and indices of the images. The indices point into the fields of the labeling. Call ``update``
    after ``forward``, with the same batch: it leaves the loss that ``forward`` returned as it is.

    The bank is a non-persistent buffer, because the number of clusters C changes with every labeling. A checkpoint
    holds the labeling instead.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """Fields that the memory uses besides the centroids: ``'labels'``, ``'features'``, ``'cam_ids'``."""
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

    def reset(self, pseudo: PseudoLabels) -> None:
        """Start again from a labeling.

        Until the next release, ``pseudo`` may also be the centroids (C, D) alone, with a warning; they are taken
        as a labeling of C images, one per cluster.

        Args:
            pseudo: Labels (N,) and centroids (C, D), and the other fields that this memory :attr:`needs`.

        Raises:
            TypeError: ``pseudo`` is no labeling.
            ValueError: There are no centroids, they are not finite, or a field that this memory :attr:`needs` is None.
        """
        if isinstance(pseudo, Tensor):
            warnings.warn(
                'reset(centroids) goes with the next release: call reset(PseudoLabels.from_features(features, labels))',
                DeprecationWarning,
                stacklevel=2,
            )
            pseudo = PseudoLabels(torch.arange(len(pseudo)), pseudo)
        if not isinstance(pseudo, PseudoLabels):
            raise TypeError(
                f'{type(self).__name__}.reset takes PseudoLabels, got {type(pseudo).__name__}: '
                'PseudoLabels.from_features(features, labels, cam_ids)'
            )
        centroids = pseudo.centroids
        if centroids.ndim != 2 or not len(centroids):
            raise ValueError(
                f'a memory bank needs (C, D) centroids with C >= 1, got {tuple(centroids.shape)}'
            )
        missing = [name for name in self.needs if getattr(pseudo, name) is None]
        if missing:
            raise ValueError(
                f'{type(self).__name__} needs {" and ".join(missing)} of all images: PseudoLabels.from_features('
                'features, labels, cam_ids); a checkpoint written with another memory does not hold them'
            )
        self.bank = centroids.detach().to(self.bank.device, torch.float32).clone()

    def forward(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> Tensor:
        """Compute the contrastive loss of a batch, without side effect.

        Args:
            features: (B, D), unit norm.
            labels: (B,) int64 pseudo labels in [0, C), or -1 where the memory :attr:`takes_outliers`.
            indices: (B,) int64 index of each image in the labeling.

        Returns:
            Scalar loss, a mean over the batch.

        Raises:
            RuntimeError: There was no ``reset``.
            ValueError: The batch is empty, shapes do not match, or a label or an index is out of range; see
                :func:`row_numbers` for those on a GPU.
        """
        raise NotImplementedError

    def update(self, features: Tensor, labels: Tensor, indices: Tensor | None = None) -> None:
        """Write a batch into the bank.

        Every process applies the update of the global batch: the batches of all processes, in the order of their ranks.

        Args:
            features: (B, D), unit norm; the gradient is not used.
            labels: As in ``forward``.
            indices: As in ``forward``.
        """
        raise NotImplementedError

    def _rows(self, features: Tensor, numbers: Tensor | None, name: str, count: int) -> Tensor:
        """Check the features of a batch, and labels or indices in [0, count); move these to the device of the bank."""
        if not len(self.bank):
            raise RuntimeError('the memory bank is empty: call reset before the first batch')
        if numbers is None:
            raise ValueError(
                f'{type(self).__name__} needs the {name} of the images: memory(features, labels, indices)'
            )
        if not isinstance(features, Tensor):
            raise TypeError(
                f'features of {type(self).__name__} must be a tensor, got {type(features).__name__}'
            )
        if features.ndim != 2 or features.shape[1] != self.bank.shape[1]:
            raise ValueError(
                f'features of {type(self).__name__} must be (B, {self.bank.shape[1]}), got {tuple(features.shape)}'
            )
        return row_numbers(
            torch.as_tensor(numbers, device=self.bank.device),
            len(features),
            f'{name} of {type(self).__name__}',
            count,
        )
